import NormaNN
import NormaTensor

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

  /// The average of every part, repeated over its cells: [N, C] → broadcastable to [N, C].
  ///
  /// Pooling is an orthogonal projection, so it is its own transpose; the backward pass uses it as such.
  func pool(_ table: Tensor) throws -> Tensor {
    switch self {
    case .instance: return table
    case .batch: return try table.mean([0], keepDimensions: true)
    case .layer: return try table.mean([1], keepDimensions: true)
    case .group(let groups):
      let shape = table.shape
      let parts = [shape[0], groups, shape[1] / groups]
      return try table.reshaped(parts).mean([2], keepDimensions: true).expanded(parts).reshaped(shape)
    }
  }

  /// How many values one part's statistics are taken over.
  func valuesPerPart(samples: Int, channels: Int, positions: Int) -> Int {
    switch self {
    case .instance: positions
    case .batch: samples * positions
    case .layer: channels * positions
    case .group(let groups): channels / groups * positions
    }
  }
}
