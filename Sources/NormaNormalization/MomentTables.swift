/// The extents that statistics are taken over.
struct MomentShape: Equatable {
  var samples: Int
  var channels: Int
  /// Values of one plane.
  var positions: Int

  /// (sample, channel) planes.
  var cells: Int { samples * channels }
  var whole: TableBlock { TableBlock(shape: self, samples: 0..<samples, channels: 0..<channels) }
}

/// A rectangle of the table [N, C]: the cells that are worked on at a time.
struct TableBlock {
  let shape: MomentShape
  let samples: Range<Int>
  let channels: Range<Int>

  func cells(ofSample n: Int) -> Range<Int> {
    n * shape.channels + channels.lowerBound..<n * shape.channels + channels.upperBound
  }
}

/// Some tables [N, C] of Doubles in one piece of memory.
final class MomentTables: @unchecked Sendable {
  private let memory: UnsafeMutablePointer<Double>
  private let cells: Int

  init(_ count: Int, _ shape: MomentShape) {
    cells = shape.cells
    memory = .allocate(capacity: max(1, count * cells))
  }

  deinit { memory.deallocate() }

  subscript(_ table: Int) -> UnsafeMutablePointer<Double> { memory + table * cells }
}
