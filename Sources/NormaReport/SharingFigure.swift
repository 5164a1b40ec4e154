/// The drawing as SVG: the block seen from the front corner, and beside it every page of the shelf.
public enum SharingFigure {
  /// One member with its panels.
  public struct Member: Sendable {
    public let name: String
    public let title: String
    public let summary: String
    public let formula: String
    public let panels: [SharingPanel]

    public init(name: String, title: String, summary: String, formula: String, panels: [SharingPanel]) {
      (self.name, self.title, self.summary, self.formula) = (name, title, summary, formula)
      self.panels = panels
    }
  }

  /// One member large.
  public static func svg(of member: Member) -> String {
    var body = ""
    var y = 46.0
    body += text(24, y, member.title, size: 24, weight: "bold")
    for line in wrapped(member.summary, 90) {
      y += 24
      body += text(24, y, line, size: 15, fill: quiet)
    }
    y += 26
    body += text(24, y, member.formula, size: 14, family: mono, length: 812)
    y += 14
    for panel in member.panels {
      y += 12
      body += "<line x1=\"24\" y1=\"\(n(y))\" x2=\"836\" y2=\"\(n(y))\" stroke=\"#d5d9de\"/>\n"
      y += 28
      body += text(24, y, "\(panel.title): over \(panel.axes)", size: 17, weight: "bold")
      for line in wrapped(panel.caption, 98) {
        y += 21
        body += text(24, y, line, size: 14, fill: quiet)
      }
      if let omission = panel.omission {
        y += 21
        body += text(24, y, "(\(omission))", size: 13, fill: quiet)
      }
      y += 18
      let block = Block(panel, width: 210, height: 190)
      let shelf = Shelf(panel, width: 520)
      let height = max(block.totalHeight, shelf.height)
      body += block.drawing(x: 40, y: y + (height - block.totalHeight) / 2)
      body += shelf.drawing(x: 316, y: y + (height - shelf.height) / 2)
      y += height + 8
    }
    y += 26
    body += legend(x: 24, y: y, showsOthers: member.panels.contains { !$0.showsOneSet })
    y += 24
    let described = member.panels.map { "\($0.title): over \($0.axes). \($0.caption)" }.joined(separator: " ")
    return document(
      width: 860, height: y, title: "\(member.title): which values share statistics",
      description: "\(member.summary) \(described)", body)
  }

  /// All members in one figure, each as its blocks.
  public static func overview(of members: [Member]) -> String {
    let (column, columns, block) = (212.0, 4, (width: 150.0, height: 148.0))
    var body = text(28, 46, "Which values share statistics", size: 24, weight: "bold")
    body += text(
      28, 72, "The activation [N, C, H, W] as a block: samples in depth, channels across, positions (H, W) down.",
      size: 14,
      fill: quiet)
    body += legend(x: 28, y: 98, showsOthers: true)
    var (place, y) = (0, 124.0)
    let rowHeight = block.height + 112
    for member in members {
      let count = max(1, member.panels.count)
      if place > 0, place + min(count, columns) > columns { (place, y) = (0, y + rowHeight) }
      let x = 28 + Double(place) * column
      let frame = Double(min(count, columns)) * column - 16
      body += "<rect x=\"\(n(x))\" y=\"\(n(y))\" width=\"\(n(frame))\" height=\"\(n(rowHeight - 16))\" rx=\"8\" "
      body += "fill=\"#ffffff\" stroke=\"#d5d9de\"/>\n"
      body += text(x + 14, y + 28, member.name, size: 18, weight: "bold")
      // Long titles say "normalization" once too often.
      let suffix = " normalization"
      let isLong = member.title.count > 24 && member.title.hasSuffix(suffix)
      let title = isLong ? String(member.title.dropLast(suffix.count)) : member.title
      body += text(x + 14, y + 47, title, size: 13, fill: quiet, length: frame - 28)
      for (index, panel) in member.panels.prefix(columns).enumerated() {
        let left = x + Double(index) * column
        let drawn = Block(panel, width: block.width, height: block.height, showsLabels: index == 0)
        let shift = (column - 16 - drawn.totalWidth) / 2
        body += drawn.drawing(x: left + shift, y: y + 58 + (block.height - drawn.totalHeight) / 2)
        let label = count > 1 ? "\(panel.title): \(panel.axes)" : "over \(panel.axes)"
        body += text(
          left + (column - 16) / 2, y + rowHeight - 28, label, size: 13, anchor: "middle", length: column - 30)
      }
      place += count
    }
    if columns - place >= 2 {
      let lines = wrapped(
        "Read it as a shelf: N books stand one behind the other, each with C pages side by side, and on every page the "
          + "positions (H, W) run down. Where the blue set reaches through several books, the result for one sample depends "
          + "on the others in its batch; where it stays inside one book, it does not.", 25 * (columns - place))
      for (index, line) in lines.enumerated() {
        body += text(28 + Double(place) * column + 14, y + 40 + 22 * Double(index), line, size: 14, fill: quiet)
      }
    }
    let list = members.map { member in
      "\(member.name): " + member.panels.map { "over \($0.axes)" }.joined(separator: "; ")
    }
    return document(
      width: 28 + Double(columns) * column + 12, height: y + rowHeight + 8,
      title: "Normalizations: which values share statistics",
      description: list.joined(separator: ". "), body)
  }

  // MARK: - Colours

  static let strong = "#1565c0"
  private static let ink = "#1b1f24"
  private static let quiet = "#4a525c"
  /// The colour of lines around a cell.
  private static func outline(_ fill: String) -> String { fill == strong ? "#a9c8ee" : "#6a727c" }
  private static let blank = "#f1f2f4"
  private static let mono = "DejaVu Sans Mono, Menlo, Consolas, monospace"
  private static let sans = "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif"

  /// The colour of a set: blue for the one that stands out, a light one for every other, all different.
  static func colours(of panel: SharingPanel) -> [Int: String] {
    var colours: [Int: String] = [:]
    let others = panel.drawnSets.filter { $0 != panel.highlighted }
    for (rank, set) in others.enumerated() { colours[set] = tint(rank, of: others.count) }
    if let set = panel.highlighted { colours[set] = strong }
    return colours
  }

  /// Hues around the circle from amber, without blue; neighbours far apart.
  private static func tint(_ rank: Int, of count: Int) -> String {
    let steps = max(count, 6)
    // A stride coprime to the count visits every hue once.
    var stride = max(1, steps * 5 / 13)
    while greatestCommonDivisor(stride, steps) > 1 { stride += 1 }
    let share = Double((rank * stride + steps / 2) % steps) / Double(steps)
    let hue = (265 + share * 280).truncatingRemainder(dividingBy: 360)
    return hexadecimal(hue: hue, saturation: 0.6, lightness: [0.78, 0.84, 0.73][rank % 3])
  }

  private static func greatestCommonDivisor(_ a: Int, _ b: Int) -> Int { b == 0 ? a : greatestCommonDivisor(b, a % b) }

  private static func hexadecimal(hue: Double, saturation: Double, lightness: Double) -> String {
    let spread = saturation * min(lightness, 1 - lightness)
    func channel(_ offset: Double) -> String {
      let k = (offset + hue / 30).truncatingRemainder(dividingBy: 12)
      let value = lightness - spread * max(-1, min(k - 3, 9 - k, 1))
      let digits = String(Int((value * 255).rounded()), radix: 16)
      return digits.count < 2 ? "0" + digits : digits
    }
    return "#" + channel(0) + channel(8) + channel(4)
  }

  // MARK: - Parts

  /// The block in oblique projection: front (C × positions), top (C × N), side (N × positions).
  private struct Block {
    let panel: SharingPanel
    let across: Double
    let down: Double
    let depth: (x: Double, y: Double)
    let showsLabels: Bool

    init(_ panel: SharingPanel, width: Double, height: Double, showsLabels: Bool = true) {
      self.panel = panel
      self.showsLabels = showsLabels
      let samples = Double(panel.drawnSamples)
      // Samples take at most a third of either extent.
      let step = min(22, width / 3 / samples, height / 3 / samples / 0.7)
      depth = (step, step * 0.7)
      let (labelWidth, labelHeight) = (Block.labelWidth, Block.labelHeight)
      across = min(26, (width - labelWidth - depth.x * samples) / Double(panel.drawnChannels))
      down = min(20, (height - labelHeight - depth.y * samples) / Double(panel.drawnHeight * panel.drawnWidth))
    }

    static let labelWidth = 20.0
    static let labelHeight = 22.0

    var frontWidth: Double { across * Double(panel.drawnChannels) }
    var frontHeight: Double { down * Double(panel.drawnHeight * panel.drawnWidth) }
    var depthWidth: Double { depth.x * Double(panel.drawnSamples) }
    var depthHeight: Double { depth.y * Double(panel.drawnSamples) }
    var totalWidth: Double { Block.labelWidth + frontWidth + depthWidth }
    var totalHeight: Double { frontHeight + depthHeight + Block.labelHeight }

    func drawing(x: Double, y: Double) -> String {
      let colours = SharingFigure.colours(of: panel)
      let (left, top) = (x + Block.labelWidth, y + depthHeight)
      func corner(_ c: Int, _ p: Int, _ s: Int) -> (Double, Double) {
        (left + across * Double(c) + depth.x * Double(s), top + down * Double(p) - depth.y * Double(s))
      }
      func face(_ points: [(Double, Double)], _ cell: SharingPanel.Cell, shade: Double) -> String {
        let set = panel.set(of: cell)
        let fill = set.flatMap { colours[$0] } ?? blank
        let list = points.map { "\(n($0.0)),\(n($0.1))" }.joined(separator: " ")
        var out =
          "<polygon points=\"\(list)\" fill=\"\(fill)\" stroke=\"\(SharingFigure.outline(fill))\" stroke-width=\"0.8\" stroke-linejoin=\"round\"/>\n"
        // The sides lie in shadow.
        if shade > 0 { out += "<polygon points=\"\(list)\" fill=\"#000000\" fill-opacity=\"\(n(shade))\"/>\n" }
        return out
      }
      func cell(_ s: Int, _ c: Int, _ p: Int) -> SharingPanel.Cell {
        .init(sample: s, channel: c, line: p / panel.drawnWidth, column: p % panel.drawnWidth)
      }
      let positions = panel.drawnHeight * panel.drawnWidth
      let (channels, samples) = (panel.drawnChannels, panel.drawnSamples)
      var out = "<g>\n"
      for s in (0..<samples).reversed() {
        for c in 0..<channels {
          out += face(
            [corner(c, 0, s), corner(c + 1, 0, s), corner(c + 1, 0, s + 1), corner(c, 0, s + 1)], cell(s, c, 0),
            shade: 0.05)
        }
        for p in 0..<positions {
          out += face(
            [
              corner(channels, p, s), corner(channels, p, s + 1), corner(channels, p + 1, s + 1),
              corner(channels, p + 1, s),
            ], cell(s, channels - 1, p), shade: 0.13)
        }
      }
      for c in 0..<channels {
        for p in 0..<positions {
          out += face(
            [corner(c, p, 0), corner(c + 1, p, 0), corner(c + 1, p + 1, 0), corner(c, p + 1, 0)], cell(0, c, p),
            shade: 0)
        }
      }
      if showsLabels {
        out += text(left + frontWidth / 2, top + frontHeight + 17, "C", size: 13, anchor: "middle", style: "italic")
        let (mx, my) = (left - 8, top + frontHeight / 2)
        out += text(mx, my, "H, W", size: 13, anchor: "middle", style: "italic", turned: true)
        out += text(
          left + frontWidth + depthWidth / 2 + 6, top + frontHeight - depthHeight / 2 + 13, "N", size: 13,
          style: "italic")
      }
      return out + "</g>\n"
    }
  }

  /// Every drawn page, samples one under the other.
  private struct Shelf {
    let panel: SharingPanel
    let side: Double
    let pageGap: Double
    private let rowGap = 12.0
    private let left = 40.0
    private let top = 22.0

    init(_ panel: SharingPanel, width: Double) {
      self.panel = panel
      let pages = Double(panel.drawnChannels)
      pageGap = panel.drawnWidth == 1 ? 6 : 10
      side = min(19, (width - left - pageGap * (pages - 1)) / (pages * Double(panel.drawnWidth)))
    }

    private var pageHeight: Double { side * Double(panel.drawnHeight) }
    private var pageWidth: Double { side * Double(panel.drawnWidth) }
    var height: Double { top + Double(panel.drawnSamples) * (pageHeight + rowGap) - rowGap }

    func drawing(x: Double, y: Double) -> String {
      let colours = SharingFigure.colours(of: panel)
      var out = "<g>\n"
      // Every number would not fit over narrow pages.
      let step = max(1, Int((38 / (pageWidth + pageGap)).rounded(.up)))
      for c in Swift.stride(from: 0, to: panel.drawnChannels, by: step) {
        let middle = x + left + Double(c) * (pageWidth + pageGap) + pageWidth / 2
        out += text(middle, y + 12, "c = \(c + 1)", size: 12, fill: quiet, anchor: "middle")
      }
      for s in 0..<panel.drawnSamples {
        let middle = y + top + Double(s) * (pageHeight + rowGap) + pageHeight / 2
        out += text(x + left - 8, middle + 4, "n = \(s + 1)", size: 12, fill: quiet, anchor: "end")
      }
      for cell in panel.cells {
        let set = panel.set(of: cell)
        let cx = x + left + Double(cell.channel) * (pageWidth + pageGap) + Double(cell.column) * side
        let cy = y + top + Double(cell.sample) * (pageHeight + rowGap) + Double(cell.line) * side
        let fill = set.flatMap { colours[$0] } ?? blank
        let mark = set.map { " data-set=\"\($0)\"" } ?? ""
        out +=
          "<rect class=\"cell\"\(mark) x=\"\(n(cx))\" y=\"\(n(cy))\" width=\"\(n(side))\" height=\"\(n(side))\" "
          + "fill=\"\(fill)\" stroke=\"\(outline(fill))\" stroke-width=\"0.8\"/>\n"
      }
      return out + "</g>\n"
    }
  }

  private static func legend(x: Double, y: Double, showsOthers: Bool) -> String {
    func swatch(_ x: Double, _ fill: String) -> String {
      "<rect x=\"\(n(x))\" y=\"\(n(y - 11))\" width=\"13\" height=\"13\" fill=\"\(fill)\" stroke=\"#5b636d\" stroke-width=\"0.8\"/>\n"
    }
    var out = swatch(x, strong) + text(x + 20, y, "values that one statistic is taken over", size: 13, fill: quiet)
    if showsOthers {
      out += swatch(x + 310, tint(0, of: 6)) + swatch(x + 327, tint(1, of: 6))
      out += text(x + 348, y, "the other sets, one colour each", size: 13, fill: quiet)
    }
    return out
  }

  private static func text(
    _ x: Double, _ y: Double, _ content: String, size: Int, weight: String? = nil, fill: String = ink,
    family: String? = nil, anchor: String? = nil, style: String? = nil, turned: Bool = false, length: Double? = nil
  ) -> String {
    // Text that would be too long for its place is set smaller; a letter is about 0.61 of its size wide.
    let needed = Double(content.count) * 0.61
    let fitting = length.map { min(Double(size), $0 / max(needed, 1)) } ?? Double(size)
    var out = "<text x=\"\(n(x))\" y=\"\(n(y))\" font-size=\"\(n(fitting))\" fill=\"\(fill)\""
    if let weight { out += " font-weight=\"\(weight)\"" }
    if let family { out += " font-family=\"\(family)\"" }
    if let anchor { out += " text-anchor=\"\(anchor)\"" }
    if let style { out += " font-style=\"\(style)\"" }
    if turned { out += " transform=\"rotate(-90 \(n(x)) \(n(y)))\"" }
    return out + ">\(escaped(content))</text>\n"
  }

  private static func document(
    width: Double, height: Double, title: String, description: String, _ body: String
  ) -> String {
    """
    <?xml version="1.0" encoding="UTF-8"?>
    <svg xmlns="http://www.w3.org/2000/svg" width="\(n(width))" height="\(n(height))" viewBox="0 0 \(n(width)) \(n(height))" \
    role="img" aria-labelledby="title description" font-family="\(sans)">
    <title id="title">\(escaped(title))</title>
    <desc id="description">\(escaped(description))</desc>
    <rect width="100%" height="100%" fill="#ffffff"/>
    \(body)</svg>

    """
  }

  private static func n(_ value: Double) -> String { coordinate(value) }
}

/// A text in lines of at most so many letters, broken between words.
package func wrapped(_ text: String, _ width: Int) -> [String] {
  var lines: [String] = []
  for word in text.split(separator: " ") {
    if let last = lines.last, last.count + 1 + word.count <= width {
      lines[lines.count - 1] = last + " " + word
    } else {
      lines.append(String(word))
    }
  }
  return lines
}
