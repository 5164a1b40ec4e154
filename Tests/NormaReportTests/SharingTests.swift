import Foundation
import NormaReport
import Testing

#if canImport(FoundationXML)
  import FoundationXML
#endif

/// Elements of an SVG with their attributes, and the texts of some.
private final class Outline: NSObject, XMLParserDelegate {
  var elements: [(name: String, attributes: [String: String])] = []
  var texts: [String: String] = [:]
  private var open: [String] = []

  init?(_ svg: String) {
    super.init()
    let parser = XMLParser(data: Data(svg.utf8))
    parser.delegate = self
    guard parser.parse() else { return nil }
  }

  func parser(
    _ parser: XMLParser, didStartElement name: String, namespaceURI: String?, qualifiedName: String?,
    attributes: [String: String]
  ) {
    elements.append((name, attributes))
    open.append(name)
  }

  func parser(_ parser: XMLParser, didEndElement name: String, namespaceURI: String?, qualifiedName: String?) {
    open.removeLast()
  }

  func parser(_ parser: XMLParser, foundCharacters text: String) { texts[open.last ?? "", default: ""] += text }

  var cells: [[String: String]] { elements.filter { $0.attributes["class"] == "cell" }.map(\.attributes) }
}

@Suite struct SharingTests {
  /// Two samples of four channels, statistics of pairs of channels.
  static let groups = SharingPanel(
    title: "group(2)", axes: "2 channels, H, W", caption: "Groups <of> \"pages\" & more.", samples: 2, channels: 4,
    height: 2, width: 3, sets: [0, 0, 1, 1, 2, 2, 3, 3])
  /// Vectors of channels at every position.
  static let vectors = SharingPanel(
    title: "unit", axes: "C", caption: "", samples: 2, channels: 3, height: 2, width: 2, sets: [0, 0, 0, 1, 1, 1],
    isPerPosition: true)
  /// One window of two channels at the first position.
  static let window = SharingPanel(
    title: "lrn", axes: "2 channels", caption: "", samples: 1, channels: 4, height: 2, width: 2,
    sets: [nil, 0, 0, nil],
    isPerPosition: true, showsOneSet: true)

  private func member(_ panels: [SharingPanel]) -> SharingFigure.Member {
    .init(name: "x", title: "A & B", summary: "s < t", formula: "y = \"x\"", panels: panels)
  }

  @Test func setsOfCells() {
    let vectors = Self.vectors
    let sets = vectors.cells.map { vectors.set(of: $0) }
    #expect(Set(sets).count == 2 * 2 * 2)
    for set in Set(sets) { #expect(sets.filter { $0 == set }.count == 3, "one value per channel") }
    #expect(Self.window.cells.filter { Self.window.set(of: $0) != nil }.map(\.channel) == [1, 2])
    #expect(Self.groups.highlighted == 1)
  }

  @Test func text() {
    #expect(
      SharingText.drawing(of: Self.groups, colours: false) == """
             c=1    c=2    c=3    c=4
        n=1  A A A  A A A  █ █ █  █ █ █
             A A A  A A A  █ █ █  █ █ █

        n=2  B B B  B B B  C C C  C C C
             B B B  B B B  C C C  C C C
        """)
    let coloured = SharingText.drawing(of: Self.groups, colours: true)
    #expect(coloured.contains("\u{1B}["))
    // Without its colours it is the same drawing.
    var plain = ""
    var isCode = false
    for character in coloured {
      if character == "\u{1B}" {
        isCode = true
      } else if isCode {
        isCode = character != "m"
      } else {
        plain.append(character)
      }
    }
    #expect(plain == SharingText.drawing(of: Self.groups, colours: false))
    #expect(SharingText.drawing(of: Self.window, colours: false).filter { $0 == "█" }.count == 2)
  }

  @Test func everySetHasItsColourAndNumberOfCells() throws {
    for panel in [Self.groups, Self.vectors, Self.window] {
      let outline = try #require(Outline(SharingFigure.svg(of: member([panel]))), "valid XML")
      let cells = outline.cells
      #expect(cells.count == panel.samples * panel.channels * panel.height * panel.width)
      let drawn = Dictionary(grouping: cells, by: { $0["data-set"] })
      let expected = Dictionary(grouping: panel.cells, by: { panel.set(of: $0).map(String.init) })
      #expect(drawn.mapValues(\.count) == expected.mapValues(\.count))
      let colours = drawn.mapValues { Set($0.map { $0["fill"] ?? "" }) }
      for (set, fills) in colours { #expect(fills.count == 1, "set \(set ?? "none")") }
      #expect(Set(colours.values).count == colours.count, "no two sets have the same colour")
    }
  }

  @Test func manySetsHaveDifferentColours() throws {
    let many = SharingPanel(
      title: "instance", axes: "H, W", caption: "", samples: 6, channels: 16, height: 1, width: 1, sets: Array(0..<96))
    let cells = try #require(Outline(SharingFigure.svg(of: member([many])))).cells
    #expect(Set(cells.map { $0["fill"] ?? "" }).count == 96)
  }

  @Test func isAccessibleAndReadable() throws {
    for svg in [
      SharingFigure.svg(of: member([Self.groups, Self.vectors])),
      SharingFigure.overview(of: [member([Self.groups]), member([Self.vectors, Self.window, Self.groups])]),
    ] {
      let outline = try #require(Outline(svg), "valid XML")
      #expect(outline.elements[0].name == "svg" && outline.elements[0].attributes["role"] == "img")
      #expect(outline.elements.filter { $0.name == "title" }.count == 1)
      #expect(outline.texts["title"]?.isEmpty == false && outline.texts["desc"]?.isEmpty == false)
      let background = try #require(outline.elements.first { $0.name == "rect" }).attributes
      #expect(background["fill"] == "#ffffff" && background["width"] == "100%" && background["height"] == "100%")
      #expect(!svg.contains("nan") && !svg.contains("inf"))
      let height = try #require(outline.elements[0].attributes["height"].flatMap(Double.init))
      let width = try #require(outline.elements[0].attributes["width"].flatMap(Double.init))
      for item in outline.elements where item.name == "text" || item.name == "rect" {
        #expect((item.attributes["y"].flatMap(Double.init) ?? 0) <= height)
        #expect((item.attributes["x"].flatMap(Double.init) ?? 0) <= width)
      }
    }
  }

  @Test func largeBlocksAreCutAndSaySo() throws {
    let large = SharingPanel(
      title: "layer", axes: "C, H, W", caption: "", samples: 100, channels: 200, height: 50, width: 60,
      sets: (0..<20_000).map { $0 / 200 })
    let omission = try #require(large.omission)
    #expect(omission.contains("of 100 samples") && omission.contains("of 60 columns"))
    #expect(large.cells.count < 2000)
    #expect(SharingText.drawing(of: large, colours: false).contains(omission))
    #expect(SharingText.drawing(of: large, colours: false).split(separator: "\n").allSatisfy { $0.count <= 120 })
    #expect(Self.groups.omission == nil)
  }

  @Test func textIsBrokenBetweenWords() {
    #expect(wrapped("one two three", 7) == ["one two", "three"])
    #expect(wrapped("unbreakable", 4) == ["unbreakable"])
    #expect(wrapped("", 4) == [])
  }
}
