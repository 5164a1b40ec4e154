/// What to draw from a dataset and how.
public struct SampleOptions: Sendable, Codable, Equatable {
  /// The side of the square samples in pixels.
  public var crop: Int
  /// Consecutive slices per sample: above 1 samples are volumes, whose slices are varied alike but for noise.
  public var slices = 1
  /// Samples per batch; the last batch of an epoch holds the rest.
  public var batchSize: Int
  /// Samples per epoch.
  public var samplesPerEpoch: Int
  /// Decides everything that is random.
  public var seed: UInt64
  /// How samples are varied.
  public var augmentation: Augmentation
  /// The weight map, or `nil` for batches without weights.
  public var borderWeighting: BorderWeighting?
  /// Background threads; they change the speed and nothing else.
  public var workers: Int
  /// Batches prepared ahead.
  public var depth: Int

  /// Two workers keep four batches ready, unless told otherwise.
  public init(
    crop: Int, batchSize: Int, samplesPerEpoch: Int, seed: UInt64, augmentation: Augmentation = .flips,
    borderWeighting: BorderWeighting? = nil, workers: Int = 2, depth: Int = 4
  ) {
    self.crop = crop
    self.batchSize = batchSize
    self.samplesPerEpoch = samplesPerEpoch
    self.seed = seed
    self.augmentation = augmentation
    self.borderWeighting = borderWeighting
    self.workers = workers
    self.depth = depth
  }

  /// Throws `DataError` unless samples can be drawn from `dataset`.
  public func validate(for dataset: SegmentationDataset) throws {
    try checkPositive(
      ("batch size", batchSize), ("samples per epoch", samplesPerEpoch), ("workers", workers), ("queue depth", depth))
    let greatest = min(dataset.height, dataset.width)
    guard crop >= 1, crop <= greatest else {
      throw DataError(
        .crop,
        "Expected a crop of 1 to \(greatest) pixels for slices of \(dataset.height)×\(dataset.width), "
          + "received \(crop); choose a crop that fits into the slice.")
    }
    guard (1...dataset.pages).contains(slices) else {
      throw DataError(
        .crop,
        "Expected samples of 1 to \(dataset.pages) slices, as many as there are for training, received \(slices); choose fewer."
      )
    }
    try augmentation.validate()
    try borderWeighting?.validate()
  }
}
