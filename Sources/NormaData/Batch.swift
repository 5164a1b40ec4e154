/// Samples that go through a network together.
public struct Batch: Sendable, Equatable {
  /// Grey values 0…1, [count, channels, height, width].
  public let images: [Float]
  /// Classes, [count, height, width]; `SegmentationDataset.ignoredClass` where there is no label.
  public let labels: [UInt8]
  /// Pixel weights, [count, height, width], or `nil` without border weighting.
  public let weights: [Float]?
  /// The slice of the dataset that each sample comes from.
  public let pages: [Int]
  /// Channels per image.
  public let channels: Int
  /// Rows per image.
  public let height: Int
  /// Columns per image.
  public let width: Int

  /// The number of samples.
  public var count: Int { pages.count }
}
