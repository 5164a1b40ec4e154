/// Which cells of the table of moments [N, C] are averaged together. A normalization is a partition, or
/// a mix of several.
public enum Partition: Sendable, Hashable {
  /// Every (sample, channel) alone.
  case instance
  /// All samples of one channel.
  case batch
  /// All channels of one sample.
  case layer
  /// The given number of groups of neighbouring channels, within one sample.
  case group(Int)

  /// How many neighbouring channels of one sample are averaged.
  func channelsPerPart(_ channels: Int) -> Int {
    switch self {
    case .instance, .batch: 1
    case .layer: channels
    case .group(let groups): channels / groups
    }
  }

  /// How many values one part's statistics are taken over.
  func valuesPerPart(samples: Int, channels: Int, positions: Int) -> Int {
    (self == .batch ? samples : 1) * channelsPerPart(channels) * positions
  }

  /// Writes the average of every part into all its cells, for the parts inside the block; `source` and `target`
  /// may be the same.
  ///
  /// Pooling is an orthogonal projection, so it is its own transpose; the backward pass uses it as such.
  func pool(_ source: UnsafePointer<Double>, into target: UnsafeMutablePointer<Double>, _ block: TableBlock) {
    let channels = block.shape.channels
    switch self {
    case .instance:
      if source != UnsafePointer(target) {
        for n in block.samples {
          for cell in block.cells(ofSample: n) { target[cell] = source[cell] }
        }
      }
    case .batch:
      let share = 1 / Double(block.samples.count)
      for c in block.channels {
        var sum = 0.0
        for n in block.samples { sum += source[n * channels + c] }
        for n in block.samples { target[n * channels + c] = sum * share }
      }
    case .layer, .group:
      let size = channelsPerPart(channels)
      let share = 1 / Double(size)
      for n in block.samples {
        let row = block.cells(ofSample: n)
        for start in stride(from: row.lowerBound, to: row.upperBound, by: size) {
          var sum = 0.0
          for cell in start..<start + size { sum += source[cell] }
          sum *= share
          for cell in start..<start + size { target[cell] = sum }
        }
      }
    }
  }
}
