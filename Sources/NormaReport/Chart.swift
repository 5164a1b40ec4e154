/// A chart as SVG, in light and dark.
public struct Chart: Sendable {
  /// For its file, without `.svg`; different for all charts of a report.
  public let name: String
  public let title: String
  /// What it shows, for who cannot see it.
  public let description: String
  let plot: Plot

  enum Plot: Sendable {
    case lines(LinePlot)
    case rows(RowPlot)
    case areas(AreaPlot)
  }

  /// A file of its own.
  public var svg: String {
    """
    <?xml version="1.0" encoding="UTF-8"?>
    \(element(content, attributes: "xmlns=\"http://www.w3.org/2000/svg\" ", style: "<style>\(ChartStyle.standAlone)</style>"))

    """
  }

  /// For a page that has ``ChartStyle/inPage``.
  var inline: String { element(content, attributes: "", style: "") }

  private var content: (width: Double, height: Double, body: String) {
    switch plot {
    case .lines(let plot): plot.drawing(title: title)
    case .rows(let plot): plot.drawing(title: title)
    case .areas(let plot): plot.drawing(title: title)
    }
  }

  private func element(_ content: (width: Double, height: Double, body: String), attributes: String, style: String)
    -> String
  {
    let (width, height) = (coordinate(content.width), coordinate(content.height))
    let id = escaped(name)
    return """
      <svg \(attributes)class="chart" width="\(width)" height="\(height)" viewBox="0 0 \(width) \(height)" role="img" \
      aria-labelledby="\(id)-title \(id)-description">
      <title id="\(id)-title">\(escaped(title))</title>
      <desc id="\(id)-description">\(escaped(description))</desc>
      \(style)<rect class="paper" width="100%" height="100%"/>
      \(content.body)</svg>
      """
  }
}

/// Colours, dashes and markers. Series differ in all three, so that colour is never needed to tell them apart.
enum ChartStyle {
  /// Light and dark; the hues of Okabe and Ito, which the colour-blind can tell apart, with a contrast of 3 or more.
  static let colours: [(name: String, light: String, dark: String)] = [
    ("paper", "#ffffff", "#15181c"), ("ink", "#1b1f24", "#e8eaed"), ("quiet", "#4a525c", "#a9b1bb"),
    ("rule", "#d5d9de", "#3a414a"),
    ("c0", "#0072b2", "#56a8e8"), ("c1", "#d55e00", "#ff8a4c"), ("c2", "#00805d", "#2fc99a"),
    ("c3", "#a8458a", "#e08fc4"), ("c4", "#9a6b00", "#f0c04a"), ("c5", "#1b1f24", "#e8eaed"),
    ("c6", "#2f86c1", "#9cccf5"), ("c7", "#7a4bb8", "#b79cf0"),
  ]
  static let series = 8

  /// The classes of a series by its rank.
  static func series(_ rank: Int) -> String { "c\(rank % series) d\(rank % 5)" }

  private static func rules(_ colour: (String) -> String) -> String {
    var out = """
      .chart{font:14px "DejaVu Sans",Verdana,Helvetica,Arial,sans-serif}
      .chart text{fill:\(colour("ink"))} .chart .quiet{fill:\(colour("quiet"))} .chart .heading{font-weight:bold;font-size:15px}
      .chart .small{font-size:12px} .chart .paper{fill:\(colour("paper"))}
      .chart .rule{stroke:\(colour("rule"));stroke-width:1;fill:none} .chart .axis{stroke:\(colour("quiet"));fill:none}
      .chart .line{stroke:currentColor;stroke-width:2;fill:none;stroke-linejoin:round}
      .chart .thin{stroke:currentColor;stroke-width:1.5;fill:none}
      .chart .band{fill:currentColor;fill-opacity:.14} .chart .bar{fill:currentColor;fill-opacity:.55}
      .chart .area{fill:currentColor;stroke:\(colour("paper"));stroke-width:1}
      .chart .mark{fill:currentColor;stroke:\(colour("paper"));stroke-width:1}
      .chart .dot{fill:none;stroke:currentColor;stroke-width:1.2;opacity:.75}
      .chart .d1 .line{stroke-dasharray:8 3} .chart .d2 .line{stroke-dasharray:2 3} .chart .d3 .line{stroke-dasharray:9 3 2 3}
      .chart .d4 .line{stroke-dasharray:14 4}

      """
    for rank in 0..<series { out += ".chart .c\(rank){color:\(colour("c\(rank)"))} " }
    return out
  }

  /// By variables, which the page has.
  static let inPage = rules { "var(--\($0))" }

  static func variables(dark: Bool) -> String {
    colours.map { "--\($0.name):\(dark ? $0.dark : $0.light)" }.joined(separator: ";")
  }

  /// Plain colours: not every program that shows SVG knows variables.
  static let standAlone: String = {
    func value(_ name: String, _ dark: Bool) -> String {
      colours.first { $0.name == name }.map { dark ? $0.dark : $0.light } ?? "currentColor"
    }
    return rules { value($0, false) } + "\n@media (prefers-color-scheme:dark){\n" + rules { value($0, true) } + "}\n"
  }()

  /// The marker of a series around a point.
  static func marker(_ rank: Int, _ x: Double, _ y: Double, size: Double = 4) -> String {
    func path(_ corners: [(Double, Double)]) -> String {
      let points = corners.map { "\(coordinate(x + size * $0.0)),\(coordinate(y + size * $0.1))" }
      return "<polygon class=\"mark\" points=\"\(points.joined(separator: " "))\"/>"
    }
    return switch rank % 7 {
    case 1: path([(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)])
    case 2: path([(0, -1.2), (1.1, 0.8), (-1.1, 0.8)])
    case 3: path([(0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)])
    case 4: path([(0, 1.2), (1.1, -0.8), (-1.1, -0.8)])
    case 5: path([(-1.3, -0.5), (1.3, -0.5), (1.3, 0.5), (-1.3, 0.5)])
    case 6: path([(-0.5, -1.3), (0.5, -1.3), (0.5, 1.3), (-0.5, 1.3)])
    default:
      "<circle class=\"mark\" cx=\"\(coordinate(x))\" cy=\"\(coordinate(y))\" r=\"\(coordinate(size))\"/>"
    }
  }

  /// How wide a text is at most, in letters of the given size.
  static func width(_ text: String, size: Double = 14) -> Double { Double(text.count) * size * 0.62 }

  /// A text that fits, with its end left out where it would not.
  static func cut(_ text: String, to width: Double, size: Double = 14) -> String {
    let letters = Int(width / (size * 0.62))
    return text.count <= letters ? text : text.prefix(max(1, letters - 1)) + "…"
  }

  static func text(_ x: Double, _ y: Double, _ text: String, _ classes: String = "", anchor: String? = nil) -> String {
    "<text x=\"\(coordinate(x))\" y=\"\(coordinate(y))\""
      + (classes.isEmpty ? "" : " class=\"\(classes)\"") + (anchor.map { " text-anchor=\"\($0)\"" } ?? "")
      + ">\(escaped(text))</text>\n"
  }

  static func line(_ x1: Double, _ y1: Double, _ x2: Double, _ y2: Double, _ classes: String) -> String {
    "<line class=\"\(classes)\" x1=\"\(coordinate(x1))\" y1=\"\(coordinate(y1))\" x2=\"\(coordinate(x2))\" "
      + "y2=\"\(coordinate(y2))\"/>\n"
  }

  /// Names with a sample each, in as many lines as they need.
  static func legend(
    _ entries: [(rank: Int, name: String)], x: Double, y: Double, width: Double, sample: (Int, Double, Double) -> String
  ) -> (height: Double, body: String) {
    var (left, top, body) = (x, y, "")
    for (rank, name) in entries {
      let shown = cut(name, to: width - 40)
      let needed = 44 + Self.width(shown)
      if left > x, left + needed > x + width { (left, top) = (x, top + 22) }
      body += "<g class=\"\(series(rank))\">\(sample(rank, left, top))"
      body += text(left + 34, top + 5, shown) + "</g>\n"
      left += needed
    }
    return (top - y + 22, body)
  }
}

/// Lines over numbers, or over names in equal distances, with bands or whiskers.
struct LinePlot: Sendable {
  struct Point: Sendable {
    var x: Double
    var y: Double
    var low: Double?
    var high: Double?
  }

  struct Series: Sendable {
    let name: String
    /// Decides how it is drawn.
    let rank: Int
    let points: [Point]
  }

  let across: String
  let up: String
  /// Where points have 0, 1, …; nil where they have numbers.
  var names: [String]?
  let series: [Series]

  private static let width = 460.0

  func drawing(title: String) -> (width: Double, height: Double, body: String) {
    let points = series.flatMap(\.points).filter(\.y.isFinite)
    let middle = points.map(\.y)
    // Intervals of two runs can be a hundred times as wide as all there is to see.
    let room = (middle.max() ?? 0) - (middle.min() ?? 0)
    let reach = (middle.min() ?? 0) - room...(middle.max() ?? 0) + room
    let ends = points.flatMap { [$0.low, $0.high].compactMap { $0 } }
    let vertical = Scale.suited(
      to: middle + (names == nil || room == 0 ? ends : ends.map { min(max($0, reach.lowerBound), reach.upperBound) }))
    let first = points.map(\.x).min() ?? 0
    let extent = max((points.map(\.x).max() ?? 0) - first, 1)
    // From the first point to the last, with a tick at the first.
    let horizontal = Scale.linear(points.map(\.x), count: 6, isWhole: true).ticks.filter {
      $0 > first + 0.08 * extent && $0 <= first + extent
    }
    let left = 16 + (vertical.labels.map { ChartStyle.width($0, size: 13) }.max() ?? 0)
    let (right, top, bottom) = (Self.width - 16, 66.0, 266.0)
    func px(_ x: Double) -> Double {
      let share = names.map { (x + 0.5) / Double(max($0.count, 1)) } ?? ((x - first) / extent)
      return left + 6 + (right - left - 12) * share
    }
    func py(_ y: Double) -> Double { bottom - (bottom - top) * vertical.place(y) }
    var body = ChartStyle.text(12, 24, ChartStyle.cut(title, to: Self.width - 24, size: 15), "heading")
    body += ChartStyle.text(12, 46, up + (vertical.isLogarithmic ? " (logarithmic)" : ""), "quiet small")
    for (tick, label) in zip(vertical.ticks, vertical.labels) {
      body += ChartStyle.line(left, py(tick), right, py(tick), "rule")
      body += ChartStyle.text(left - 6, py(tick) + 4, label, "quiet small", anchor: "end")
    }
    let marks =
      names.map { $0.enumerated().map { (Double($0), $1) } } ?? ([first] + horizontal).map { ($0, fixed($0, 0)) }
    body += ChartStyle.line(left, bottom, right, bottom, "axis")
    for (tick, label) in marks {
      body += ChartStyle.line(px(tick), bottom, px(tick), bottom + 4, "axis")
      body += ChartStyle.text(px(tick), bottom + 18, label, "quiet small", anchor: "middle")
    }
    body += ChartStyle.text(right, bottom + 36, across, "quiet small", anchor: "end")
    for (index, one) in series.enumerated() {
      // Beside each other, not one upon the other.
      let shift = names == nil ? 0 : (Double(index) - Double(series.count - 1) / 2) * min(8, 60 / Double(series.count))
      let parts = one.points.split { !$0.y.isFinite }.map(Array.init)
      let step = max(1, one.points.count / 20)
      body += "<g class=\"\(ChartStyle.series(one.rank))\">\n"
      for part in parts {
        let path = part.map { "\(coordinate(px($0.x) + shift)),\(coordinate(py($0.y)))" }
        let banded = part.filter { $0.low != nil && $0.high != nil }
        if names == nil, banded.count > 1 {
          let upper = banded.map { "\(coordinate(px($0.x))),\(coordinate(py($0.high!)))" }
          let lower = banded.reversed().map { "\(coordinate(px($0.x))),\(coordinate(py($0.low!)))" }
          body += "<polygon class=\"band\" points=\"\((upper + lower).joined(separator: " "))\"/>\n"
        } else {
          for point in banded {
            let x = px(point.x) + shift
            body += ChartStyle.line(x, py(point.low!), x, py(point.high!), "thin")
          }
        }
        if path.count > 1 { body += "<polyline class=\"line\" points=\"\(path.joined(separator: " "))\"/>\n" }
      }
      for (place, point) in one.points.enumerated() where point.y.isFinite && place % step == 0 {
        let told = "\(one.name), \(across) \(names?[Int(point.x)] ?? fixed(point.x, 0)): \(fixed(point.y, 4))"
        body += "<g><title>\(escaped(told))</title>"
        body += ChartStyle.marker(one.rank, px(point.x) + shift, py(point.y)) + "</g>\n"
      }
      body += "</g>\n"
    }
    let legend = ChartStyle.legend(
      series.map { ($0.rank, $0.name) }, x: 12, y: bottom + 60, width: Self.width - 24
    ) { rank, x, y in
      ChartStyle.line(x, y, x + 28, y, "line") + ChartStyle.marker(rank, x + 14, y)
    }
    return (Self.width, bottom + 56 + legend.height, body + legend.body)
  }
}

/// A row per name: bars from 0, or points with whiskers and the single values as rings.
struct RowPlot: Sendable {
  struct Row: Sendable {
    let name: String
    let rank: Int
    let value: Double
    var low: Double?
    var high: Double?
    var singles: [Double] = []
    /// As it is written beside the row.
    let label: String
  }

  let across: String
  let isFromZero: Bool
  let rows: [Row]

  private static let width = 460.0

  func drawing(title: String) -> (width: Double, height: Double, body: String) {
    let seen = rows.flatMap { [$0.value] + $0.singles }.filter(\.isFinite)
    let room = max((seen.max() ?? 0) - (seen.min() ?? 0), 1e-9)
    let reach = (seen.min() ?? 0) - room...(seen.max() ?? 0) + room
    let ends = rows.flatMap { [$0.low, $0.high].compactMap { $0 } }.map {
      min(max($0, isFromZero ? 0 : reach.lowerBound), reach.upperBound)
    }
    let names = rows.map { ChartStyle.cut($0.name, to: 190, size: 12) }
    let left = 20 + (names.map { ChartStyle.width($0, size: 12) }.max() ?? 0)
    let right = Self.width - 20 - (rows.map { ChartStyle.width($0.label, size: 12) }.max() ?? 0)
    let top = 66.0
    let bottom = top + 30 * Double(rows.count)
    let scale = Scale.linear(seen + ends, count: right - left > 220 ? 5 : 3, includesZero: isFromZero)
    func px(_ value: Double) -> Double { left + (right - left) * scale.place(value) }
    var body = ChartStyle.text(12, 24, ChartStyle.cut(title, to: Self.width - 24, size: 15), "heading")
    body += ChartStyle.text(12, 46, across, "quiet small")
    for (tick, label) in zip(scale.ticks, scale.labels) {
      body += ChartStyle.line(px(tick), top, px(tick), bottom, "rule")
      body += ChartStyle.text(px(tick), bottom + 16, label, "quiet small", anchor: "middle")
    }
    for (index, row) in rows.enumerated() {
      let y = top + 30 * Double(index) + 15
      body += "<g class=\"\(ChartStyle.series(row.rank))\"><title>\(escaped("\(row.name): \(row.label)"))</title>\n"
      body += ChartStyle.text(left - 8, y + 4, names[index], "small", anchor: "end")
      body += ChartStyle.text(right + 8, y + 4, row.label, "quiet small")
      if isFromZero, row.value.isFinite {
        body += "<rect class=\"bar\" x=\"\(coordinate(px(0)))\" y=\"\(coordinate(y - 8))\" "
        body += "width=\"\(coordinate(px(row.value) - px(0)))\" height=\"16\"/>\n"
      }
      if let low = row.low, let high = row.high { body += ChartStyle.line(px(low), y, px(high), y, "thin") }
      for single in row.singles where single.isFinite {
        body += "<circle class=\"dot\" cx=\"\(coordinate(px(single)))\" cy=\"\(coordinate(y))\" r=\"3.5\"/>\n"
      }
      if row.value.isFinite, !isFromZero { body += ChartStyle.marker(row.rank, px(row.value), y, size: 5) }
      body += "</g>\n"
    }
    body += ChartStyle.line(left, bottom, right, bottom, "axis")
    return (Self.width, bottom + 28, body)
  }
}

/// Shares that sum to 1, as stacked areas over epochs: a small panel per layer.
struct AreaPlot: Sendable {
  struct Panel: Sendable {
    let title: String
    /// Such as mean and variance; by epoch, then by branch.
    let parts: [(name: String, shares: [[Double]])]
  }

  let branches: [String]
  /// The first and last one.
  let epochs: ClosedRange<Int>
  let panels: [Panel]

  private static let panelWidth = 220.0
  private static let panelHeight = 128.0

  /// All panels in columns, under a legend.
  func drawing(title: String) -> (width: Double, height: Double, body: String) {
    let columns = min(4, max(panels.count, 1))
    let width = max(460, 12 + Double(columns) * Self.panelWidth)
    var body = ChartStyle.text(12, 24, ChartStyle.cut(title, to: width - 24, size: 15), "heading")
    let legend = legend(y: 46, width: width - 24)
    body += legend.body
    for (index, panel) in panels.enumerated() {
      let place = (
        x: 6 + Double(index % columns) * Self.panelWidth,
        y: 46 + legend.height + Double(index / columns) * Self.panelHeight
      )
      body += "<g transform=\"translate(\(coordinate(place.x)) \(coordinate(place.y)))\">\n\(drawing(of: panel))</g>\n"
    }
    return (width, 46 + legend.height + Double((panels.count + columns - 1) / columns) * Self.panelHeight, body)
  }

  private func legend(y: Double, width: Double) -> (height: Double, body: String) {
    ChartStyle.legend(branches.enumerated().map { ($0, $1) }, x: 12, y: y, width: width) { _, x, y in
      "<rect class=\"area\" x=\"\(coordinate(x + 4))\" y=\"\(coordinate(y - 7))\" width=\"22\" height=\"14\"/>"
    }
  }

  /// The panels as drawings of their own, the legend first, so that a page can set them in as many columns as fit.
  var pieces: [String] {
    func svg(_ width: Double, _ height: Double, _ label: String, _ body: String) -> String {
      let size = (coordinate(width), coordinate(height))
      return
        "<svg class=\"chart\" width=\"\(size.0)\" height=\"\(size.1)\" viewBox=\"0 0 \(size.0) \(size.1)\" role=\"img\" "
        + "aria-label=\"\(escaped(label))\">\n\(body)</svg>"
    }
    let legend = legend(y: 16, width: 320)
    return [svg(344, legend.height + 8, "Legend: \(branches.joined(separator: ", "))", legend.body)]
      + panels.map { svg(Self.panelWidth, Self.panelHeight, describe($0), drawing(of: $0)) }
  }

  func describe(_ panel: Panel) -> String {
    "\(panel.title): "
      + panel.parts.map { part in
        "\(part.name) at the end "
          + zip(branches, part.shares.last ?? []).map { "\($0) \(fixed(100 * $1, 0)) %" }.joined(separator: ", ")
      }.joined(separator: "; ")
  }

  private func drawing(of panel: Panel) -> String {
    let (top, bottom, gap) = (42.0, 106.0, 10.0)
    let extent = (Self.panelWidth - 12 - gap * Double(panel.parts.count - 1)) / Double(max(panel.parts.count, 1))
    var body = "<title>\(escaped(describe(panel)))</title>\n"
    body += ChartStyle.text(6, 16, ChartStyle.cut(panel.title, to: Self.panelWidth - 12, size: 12), "small")
    for (index, part) in panel.parts.enumerated() {
      let left = 6 + Double(index) * (extent + gap)
      // One epoch alone fills the width.
      let shares = part.shares.count == 1 ? part.shares + part.shares : part.shares
      func x(_ place: Int) -> String { coordinate(left + extent * Double(place) / Double(max(shares.count - 1, 1))) }
      func y(_ share: Double) -> String { coordinate(bottom - (bottom - top) * min(max(share, 0), 1)) }
      body += ChartStyle.text(left, 36, part.name, "quiet small")
      for branch in branches.indices {
        func sum(_ place: Int, _ count: Int) -> Double { shares[place].prefix(count).reduce(0, +) }
        let upper = shares.indices.map { "\(x($0)),\(y(sum($0, branch + 1)))" }
        let lower = shares.indices.reversed().map { "\(x($0)),\(y(sum($0, branch)))" }
        body += "<g class=\"\(ChartStyle.series(branch))\"><polygon class=\"area\" "
        body += "points=\"\((upper + lower).joined(separator: " "))\"/></g>\n"
      }
      body += ChartStyle.line(left, bottom, left + extent, bottom, "axis")
      let last = left + extent
      body += ChartStyle.text(left, bottom + 15, "\(epochs.lowerBound)", "quiet small")
      if epochs.count > 1 {
        body += ChartStyle.text(last, bottom + 15, "\(epochs.upperBound)", "quiet small", anchor: "end")
      }
    }
    return body
  }
}
