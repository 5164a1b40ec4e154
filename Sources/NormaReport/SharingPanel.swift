/// Which cells of an activation [N, C, H, W] share one statistic, as something to draw: a shelf of N books with C pages each,
/// and H lines of W characters on every page.
public struct SharingPanel: Sendable, Equatable {
  /// What is drawn, such as `instance`.
  public let title: String
  /// What a statistic is taken over, in a few letters: `H, W`.
  public let axes: String
  /// How many values and statistics there are, in a sentence.
  public let caption: String
  public let samples: Int
  public let channels: Int
  public let height: Int
  public let width: Int
  /// The set of every plane (n, c), all planes of a sample together; nil is in no set that is drawn.
  public let sets: [Int?]
  /// Whether each position has sets of its own: then a set holds one value of every plane of the same number in ``sets``.
  public let isPerPosition: Bool
  /// Whether only the set that stands out is drawn, since the sets overlap.
  public let showsOneSet: Bool

  public init(
    title: String, axes: String, caption: String, samples: Int, channels: Int, height: Int, width: Int, sets: [Int?],
    isPerPosition: Bool = false, showsOneSet: Bool = false
  ) {
    precondition(min(samples, channels, height, width) > 0 && sets.count == samples * channels)
    self.title = title
    self.axes = axes
    self.caption = caption
    (self.samples, self.channels, self.height, self.width) = (samples, channels, height, width)
    self.sets = sets
    self.isPerPosition = isPerPosition
    self.showsOneSet = showsOneSet
  }

  /// One value of the activation.
  public struct Cell: Sendable, Hashable {
    public let sample: Int
    public let channel: Int
    public let line: Int
    public let column: Int

    public init(sample: Int, channel: Int, line: Int, column: Int) {
      (self.sample, self.channel, self.line, self.column) = (sample, channel, line, column)
    }
  }

  /// The set of a cell, or nil.
  public func set(of cell: Cell) -> Int? {
    let found = rawSet(of: cell)
    return showsOneSet && found != highlighted ? nil : found
  }

  private func rawSet(of cell: Cell) -> Int? {
    guard let plane = sets[cell.sample * channels + cell.channel] else { return nil }
    return isPerPosition ? (plane * height + cell.line) * width + cell.column : plane
  }

  /// The set that stands out: that of the first sample's last drawn channel, which a block seen from the front shows best.
  public var highlighted: Int? {
    let candidates = (0..<drawnChannels).reversed()
    return candidates.lazy.compactMap { rawSet(of: Cell(sample: 0, channel: $0, line: 0, column: 0)) }.first
  }

  /// How much of the block is drawn; the rest looks alike.
  public var drawnSamples: Int { min(samples, 6) }
  public var drawnChannels: Int { min(channels, 16) }
  public var drawnWidth: Int { max(1, min(width, 6, 36 / drawnChannels)) }
  public var drawnHeight: Int { max(1, min(height, 4, drawnWidth == 1 ? 1 : 4)) }

  /// What is left out of the drawing, or nil.
  public var omission: String? {
    let parts = [
      ("sample", drawnSamples, samples), ("channel", drawnChannels, channels), ("line", drawnHeight, height),
      ("column", drawnWidth, width),
    ].filter { $0.1 < $0.2 }.map { "\($0.1) of \($0.2) \($0.0)s" }
    return parts.isEmpty ? nil : "drawn: " + parts.joined(separator: ", ")
  }

  /// The drawn cells, line by line of every page.
  public var cells: [Cell] {
    (0..<drawnSamples).flatMap { n in
      (0..<drawnChannels).flatMap { c in
        (0..<drawnHeight).flatMap { y in
          (0..<drawnWidth).map { Cell(sample: n, channel: c, line: y, column: $0) }
        }
      }
    }
  }

  /// The drawn sets in the order in which they appear.
  var drawnSets: [Int] {
    var seen: Set<Int> = []
    return cells.compactMap(set).filter { seen.insert($0).inserted }
  }
}

/// The drawing for a terminal.
public enum SharingText {
  private static let letters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
  /// Light colours of the 256 of a terminal.
  private static let tints = [223, 151, 182, 229, 152, 217, 193, 189, 180, 158, 225, 187]

  /// One letter per set, `█` for the one that stands out and `·` for what is in none.
  public static func drawing(of panel: SharingPanel, colours: Bool) -> String {
    let order = Dictionary(
      uniqueKeysWithValues: panel.drawnSets.filter { $0 != panel.highlighted }.enumerated().map { ($1, $0) })
    func glyph(_ set: Int?) -> String {
      guard let set else { return "·" }
      let rank = order[set] ?? 0
      let isHighlighted = set == panel.highlighted
      let letter = isHighlighted ? "█" : String(letters[rank % letters.count])
      guard colours else { return letter }
      return isHighlighted
        ? "\u{1B}[1;38;5;33m█\u{1B}[0m" : "\u{1B}[30;48;5;\(tints[rank % tints.count])m\(letter)\u{1B}[0m"
    }
    let margin = "n=\(panel.drawnSamples)".count + 2
    let page = 2 * panel.drawnWidth - 1
    func padded(_ text: String, _ width: Int) -> String {
      text + String(repeating: " ", count: max(0, width - text.count))
    }
    // A page narrower than its number is filled up to it.
    func column(_ c: Int) -> Int { max(page, "c=\(c + 1)".count) }
    let channels = 0..<panel.drawnChannels
    var lines = [padded("", margin) + channels.map { padded("c=\($0 + 1)", column($0)) }.joined(separator: "  ")]
    for n in 0..<panel.drawnSamples {
      for y in 0..<panel.drawnHeight {
        let pages = channels.map { c in
          let row = (0..<panel.drawnWidth).map {
            glyph(panel.set(of: .init(sample: n, channel: c, line: y, column: $0)))
          }
          return row.joined(separator: " ") + String(repeating: " ", count: column(c) - page)
        }
        lines.append(padded(y == 0 ? "n=\(n + 1)" : "", margin) + pages.joined(separator: "  "))
      }
      if panel.drawnHeight > 1, n + 1 < panel.drawnSamples { lines.append("") }
    }
    if let omission = panel.omission { lines.append("(\(omission))") }
    return lines.map { $0.hasSuffix(" ") ? String($0.reversed().drop { $0 == " " }.reversed()) : $0 }
      .joined(separator: "\n")
  }
}
