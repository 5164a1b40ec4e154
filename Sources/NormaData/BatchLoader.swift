/// Delivers batches that background threads prepare ahead of the training step.
///
/// ```swift
/// let loader = try BatchLoader(dataset: training, configuration: configuration, epoch: 0)
/// while let batch = try loader.next() { … }
/// ```
///
/// One thread takes the batches. A loader is for one pass; a loader made before the previous one has
/// ended fills its queue meanwhile. Letting go of a loader stops its work after the samples under way.
public final class BatchLoader {
  /// What to draw from a dataset and how.
  public struct Configuration: Sendable, Codable, Equatable {
    /// The side of the square samples in pixels.
    public var crop: Int
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
      let counts = [
        ("batch size", batchSize), ("samples per epoch", samplesPerEpoch), ("workers", workers),
        ("queue depth", depth),
      ]
      for (name, value) in counts where value < 1 {
        throw DataError(.parameter, "Expected \(name) of at least 1, received \(value); raise it.")
      }
      let greatest = min(dataset.height, dataset.width)
      guard crop >= 1, crop <= greatest else {
        throw DataError(
          .crop,
          "Expected a crop of 1 to \(greatest) pixels for slices of \(dataset.height)×\(dataset.width), "
            + "received \(crop); choose a crop that fits into the slice.")
      }
      try augmentation.validate()
      try borderWeighting?.validate()
    }
  }

  /// The number of batches that the pass has altogether, with those that were skipped.
  public let batchCount: Int

  let prefetcher: Prefetcher<Batch>

  /// The time in seconds that `next()` has waited for data so far; nearly 0 when the workers keep up.
  ///
  /// The first batch of a new loader is always waited for.
  public var waitSeconds: Double { prefetcher.waitSeconds }

  /// Starts preparing the random samples of one epoch.
  ///
  /// - Parameter skipped: how many of the epoch's first batches to leave out; the others are as they would be with them.
  /// - Throws: `DataError` if the configuration does not fit the dataset.
  public init(dataset: SegmentationDataset, configuration: Configuration, epoch: Int, skipping skipped: Int = 0) throws
  {
    try configuration.validate(for: dataset)
    let plan = EpochPlan(dataset: dataset, configuration: configuration, epoch: epoch)
    let renderer = SampleRenderer(
      dataset: dataset, side: configuration.crop, weighting: configuration.borderWeighting)
    let batches = BatchRanges(samples: configuration.samplesPerEpoch, batchSize: configuration.batchSize)
    batchCount = batches.count
    let start = min(max(0, skipped), batches.count)
    prefetcher = Prefetcher(
      count: batches.count - start, depth: configuration.depth, workers: configuration.workers
    ) { index, isCancelled in
      renderer.batch(batches[start + index].map(plan.sample), isCancelled: isCancelled)
    }
  }

  /// Starts preparing the whole slices of `dataset` in order, without augmentation.
  ///
  /// - Parameters:
  ///   - batchSize: slices per batch; the last batch holds the rest.
  ///   - borderWeighting: the weight map, or `nil` for batches without weights.
  /// - Throws: `DataError` if a parameter is outside its range.
  public init(
    wholeSlicesOf dataset: SegmentationDataset, batchSize: Int = 1, borderWeighting: BorderWeighting? = nil
  ) throws {
    guard batchSize >= 1 else {
      throw DataError(.parameter, "Expected batch size of at least 1, received \(batchSize); raise it.")
    }
    try borderWeighting?.validate()
    let batches = BatchRanges(samples: dataset.pages, batchSize: batchSize)
    batchCount = batches.count
    prefetcher = Prefetcher(count: batches.count, depth: 4, workers: 1) { index, _ in
      dataset.wholeSlices(batches[index], borderWeighting: borderWeighting)
    }
  }

  /// Waits for the next batch; `nil` after the last one.
  ///
  /// - Throws: an error that a worker met; the loader is at its end then.
  public func next() throws -> Batch? { try prefetcher.next() }
}

extension SegmentationDataset {
  /// The whole slices in order, without augmentation, as `BatchLoader` delivers them.
  ///
  /// - Throws: `DataError` if a parameter is outside its range.
  public func validationBatches(
    batchSize: Int = 1, borderWeighting: BorderWeighting? = nil
  ) throws -> BatchLoader {
    try BatchLoader(wholeSlicesOf: self, batchSize: batchSize, borderWeighting: borderWeighting)
  }

  fileprivate func wholeSlices(_ range: Range<Int>, borderWeighting: BorderWeighting?) -> Batch {
    Batch(
      images: range.flatMap(image), labels: range.flatMap(labels),
      weights: borderWeighting.map { weighting in
        range.flatMap { borderWeights(page: $0, weighting: weighting) }
      },
      pages: Array(range), channels: channels, height: height, width: width)
  }
}

/// Consecutive runs of samples; the last may be shorter.
private struct BatchRanges {
  let samples: Int
  let batchSize: Int

  var count: Int { (samples + batchSize - 1) / batchSize }

  subscript(index: Int) -> Range<Int> {
    index * batchSize..<min((index + 1) * batchSize, samples)
  }
}

extension SampleRenderer {
  /// Renders samples into one batch; `nil` if cancelled meanwhile.
  func batch(_ samples: [EpochPlan.Sample], isCancelled: () -> Bool) -> Batch? {
    let area = side * side
    let channels = dataset.channels
    var images = [Float](repeating: 0, count: samples.count * channels * area)
    var labels = [UInt8](repeating: 0, count: samples.count * area)
    var weights = [Float](repeating: 0, count: weighting == nil ? 0 : samples.count * area)
    for (index, sample) in samples.enumerated() {
      if isCancelled() { return nil }
      images.withUnsafeMutableBufferPointer { images in
        labels.withUnsafeMutableBufferPointer { labels in
          weights.withUnsafeMutableBufferPointer { weights in
            let target = SampleTarget(
              image: images.baseAddress! + index * channels * area,
              labels: labels.baseAddress! + index * area,
              weights: weighting == nil ? nil : weights.baseAddress! + index * area)
            render(page: sample.page, origin: sample.origin, transform: sample.transform, to: target)
          }
        }
      }
    }
    return Batch(
      images: images, labels: labels, weights: weighting == nil ? nil : weights,
      pages: samples.map(\.page), channels: channels, height: side, width: side)
  }
}
