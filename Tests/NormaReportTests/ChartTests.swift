import Foundation
import Testing

@testable import NormaReport

#if canImport(FoundationXML)
  import FoundationXML
#endif

/// The element names of well-formed XML, or nil.
func elements(of text: String) -> [String]? {
  final class Reader: NSObject, XMLParserDelegate {
    var names: [String] = []
    func parser(
      _ parser: XMLParser, didStartElement name: String, namespaceURI: String?, qualifiedName: String?,
      attributes: [String: String]
    ) { names.append(name) }
  }
  let reader = Reader()
  let parser = XMLParser(data: Data(text.utf8))
  parser.delegate = reader
  return parser.parse() ? reader.names : nil
}

@Suite struct ScaleTests {
  @Test func stepsByHand() {
    let scale = Scale.linear([0.13, 0.94])
    #expect(scale.ticks == [0, 0.2, 0.4, 0.6, 0.8, 1])
    #expect(scale.labels == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"])
    #expect(scale.place(0) == 0 && scale.place(0.5) == 0.5 && scale.place(1) == 1)
    #expect(scale.place(-3) == 0 && scale.place(7) == 1, "never beyond the axis")
    #expect(Scale.linear([0.701, 0.749]).labels == ["0.70", "0.71", "0.72", "0.73", "0.74", "0.75"])
    #expect(Scale.linear([-20, 70]).ticks == [-20, 0, 20, 40, 60, 80])
    #expect(Scale.linear([3, 4], includesZero: true).ticks == [0, 1, 2, 3, 4])
    // Ticks are the doubles nearest to the decimal numbers.
    #expect(Scale.linear([0, 0.5]).ticks == [0, 0.1, 0.2, 0.3, 0.4, 0.5])
    #expect(Scale.linear([2e7, 9e7]).labels == ["2e7", "4e7", "6e7", "8e7", "1e8"])
  }

  @Test func whatCannotBeScaledIsPassedOver() {
    #expect(Scale.linear([.nan, 0.2, .infinity, 0.8]).ticks == Scale.linear([0.2, 0.8]).ticks)
    #expect(Scale.linear([]).ticks.first == 0)
    #expect(Scale.linear([.nan]).ticks.last == 1)
    let constant = Scale.linear([0.5, 0.5])
    #expect(constant.ticks.first! < 0.5 && constant.ticks.last! > 0.5)
    #expect(Scale.linear([0]).place(0) == 0.5)
  }

  @Test func wholeNumbersOnly() {
    #expect(Scale.linear([1, 3], count: 6, isWhole: true).labels == ["1", "2", "3"])
    #expect(Scale.linear([1, 1], isWhole: true).labels == ["0", "1", "2"])
    #expect(Scale.linear([1, 100], count: 6, isWhole: true).ticks == [0, 20, 40, 60, 80, 100])
  }

  @Test func factorsByHand() {
    let scale = Scale.logarithmic([0.3, 17])
    #expect(scale.labels == ["0.2", "0.5", "1", "2", "5", "10", "20"])
    #expect(abs(scale.place(2) - 0.5) < 1e-12)
    #expect(Scale.logarithmic([1, 1e9]).labels == ["1", "100", "10000", "1e6", "1e8", "1e10"])
    #expect(Scale.suited(to: [0.1, 1]).isLogarithmic == false)
    #expect(Scale.suited(to: [0.1, 100]).isLogarithmic)
    #expect(!Scale.suited(to: [-1, 100]).isLogarithmic, "only what is above 0 has factors")
  }
}

@Suite struct ChartTests {
  private func lines(_ names: [String], points: [LinePlot.Point]) -> Chart {
    Chart(
      name: "a", title: "Loss & <more>", description: "\"quoted\"",
      plot: .lines(
        LinePlot(
          across: "epoch", up: "loss",
          series: names.enumerated().map { LinePlot.Series(name: $1, rank: $0, points: points) })))
  }

  @Test func escaping() {
    #expect(escaped("a<b>&\"c\"'d'") == "a&lt;b&gt;&amp;&quot;c&quot;&#39;d&#39;")
    #expect(escaped("a\u{0}b\u{1B}c\nd é") == "a\u{FFFD}b\u{FFFD}c\nd é", "XML forbids control characters")
  }

  @Test func placesByHand() throws {
    let svg = lines(["batch"], points: [.init(x: 1, y: 0), .init(x: 2, y: 0.5), .init(x: 3, y: 1)]).svg
    // The axis has the ticks 0.0, 0.2 … 1.0 between y = 266 and 66; the x are in equal distances.
    let line = try #require(svg.split(separator: "\n").first { $0.contains("<polyline") })
    let points = line.split(separator: "\"")[3].split(separator: " ").map {
      $0.split(separator: ",").map { Double($0)! }
    }
    #expect(points.map { $0[1] } == [266, 166, 66])
    #expect(abs(points[1][0] - (points[0][0] + points[2][0]) / 2) < 0.011)
  }

  @Test func filesAreWellFormedAndCarryTheirStyle() throws {
    let points = [
      LinePlot.Point(x: 1, y: 0.3, low: 0.1, high: 0.5), .init(x: 2, y: .nan), .init(x: 3, y: 0.2, low: 0.1, high: 0.3),
      .init(x: 4, y: 0.2, low: 0.1, high: 0.3),
    ]
    let svg = lines(["<batch>", "b"], points: points).svg
    let names = try #require(elements(of: svg))
    #expect(names.prefix(4) == ["svg", "title", "desc", "style"])
    #expect(
      names.count { $0 == "polyline" } == 2, "a value that is no number leaves a gap, and a point alone has no line")
    #expect(names.count { $0 == "polygon" } > 2)
    #expect(svg.contains("prefers-color-scheme:dark") && !svg.contains("var("))
    #expect(svg.contains("Loss &amp; &lt;more&gt;") && svg.contains("&lt;batch&gt;") && !svg.contains("<batch>"))
    #expect(!svg.contains("nan"))
    let rows = Chart(
      name: "r", title: "r", description: "",
      plot: .rows(
        RowPlot(
          across: "ms", isFromZero: true,
          rows: [
            .init(name: "a", rank: 0, value: 10, low: 5, high: 500, label: "10"),
            .init(name: "b", rank: 1, value: .nan, label: "–"),
          ])))
    #expect(try #require(elements(of: rows.svg)).count { $0 == "rect" } == 2, "the paper and one bar")
    #expect(!rows.svg.contains("nan"))
    let empty = lines([], points: [])
    #expect(elements(of: empty.svg) != nil)
  }

  @Test func seriesDifferInMoreThanColour() {
    let markers = (0..<7).map { ChartStyle.marker($0, 0, 0) }
    #expect(Set(markers).count == 7)
    #expect(Set((0..<40).map(ChartStyle.series)).count == 40)
    for dark in [false, true] {
      let paper = luminance(ChartStyle.colours[0], dark)
      for colour in ChartStyle.colours.dropFirst(4) {
        let other = luminance(colour, dark)
        #expect((max(paper, other) + 0.05) / (min(paper, other) + 0.05) >= 3, "\(colour.name) is too faint")
      }
    }
  }

  /// WCAG's relative luminance.
  private func luminance(_ colour: (name: String, light: String, dark: String), _ dark: Bool) -> Double {
    let number = Int((dark ? colour.dark : colour.light).dropFirst(), radix: 16)!
    let parts = [16, 8, 0].map { shift -> Double in
      let value = Double(number >> shift & 255) / 255
      return value <= 0.04045 ? value / 12.92 : pow((value + 0.055) / 1.055, 2.4)
    }
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]
  }

  @Test func stackedSharesByHand() throws {
    let plot = AreaPlot(
      branches: ["instance", "batch"], epochs: 1...2,
      panels: [.init(title: "n1", parts: [("mean", [[0.5, 0.5], [0.25, 0.75]])])])
    let svg = Chart(name: "s", title: "Shares", description: "", plot: .areas(plot)).svg
    let areas = svg.split(separator: "\n").filter { $0.contains("<polygon class=\"area\"") }
    #expect(areas.count == 2)
    // From 106 at the bottom to 42 at the top.
    #expect(areas[0].contains("points=\"6,74 214,90 214,106 6,106\""))
    #expect(areas[1].contains("points=\"6,42 214,42 214,90 6,74\""))
    #expect(plot.describe(plot.panels[0]) == "n1: mean at the end instance 25 %, batch 75 %")
  }
}
