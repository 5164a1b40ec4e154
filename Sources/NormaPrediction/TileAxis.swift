#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// How tiles are joined where they overlap.
public enum TileBlend: String, Sendable, CaseIterable {
  /// Means under a gaussian window around every tile's centre, with a deviation of an eighth of the tile.
  case gaussian
  /// Every pixel from the one tile whose core it lies in.
  case none
}

/// The tiles along one axis of a page; those of the page are all pairs.
struct TileAxis {
  struct Span {
    /// What the network sees.
    let tile: Range<Int>
    /// The cores of all spans follow one another without gap.
    let core: Range<Int>
    /// Where the tile counts: its core, or all of it.
    var kept: Range<Int>
    /// How much, per position of `kept`; those of all spans sum to 1 at every position.
    var weights: [Float]
  }

  let spans: [Span]

  /// One tile for an extent that fits, else full tiles whose cores keep `halo` away from borders that are not the page's.
  /// All numbers are multiples of what the network's extents are multiples of.
  /// - Precondition: tile > 2 halo.
  init(extent: Int, tile: Int, halo: Int, blend: TileBlend) {
    var spans: [Span] = []
    func add(_ tile: Range<Int>, _ core: Range<Int>) {
      spans.append(
        Span(tile: tile, core: core, kept: core, weights: [Float](repeating: 1, count: core.count)))
    }
    var start = 0
    while extent - max(0, start - halo) > tile {
      let first = max(0, start - halo)
      add(first..<first + tile, start..<first + tile - halo)
      start = first + tile - halo
    }
    // A full tile also at the end: fewer shapes, and more values for a tile's own statistics.
    add(max(0, extent - tile)..<extent, start..<extent)
    if blend == .gaussian, spans.count > 1 { Self.weigh(&spans, extent: extent) }
    self.spans = spans
  }

  private static func weigh(_ spans: inout [Span], extent: Int) {
    let windows = spans.map { span in
      let length = Double(span.tile.count)
      return (0..<span.tile.count).map { index in
        let distance = (Double(index) + 0.5 - length / 2) / (length / 8)
        return exp(-distance * distance / 2)
      }
    }
    var sums = [Double](repeating: 0, count: extent)
    for (span, window) in zip(spans, windows) {
      for (index, weight) in window.enumerated() { sums[span.tile.lowerBound + index] += weight }
    }
    for index in spans.indices {
      let start = spans[index].tile.lowerBound
      spans[index].kept = spans[index].tile
      spans[index].weights = windows[index].enumerated().map { Float($1 / sums[start + $0]) }
    }
  }
}

/// The place in 0..<extent that a place beyond it is a mirror image of; the border itself is not repeated.
func mirrored(_ place: Int, _ extent: Int) -> Int {
  if extent == 1 { return 0 }
  let period = 2 * (extent - 1)
  let rest = place % period
  return rest < extent ? rest : period - rest
}
