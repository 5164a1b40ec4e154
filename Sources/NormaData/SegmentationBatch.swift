/// Samples that go through a network together.
public struct SegmentationBatch: Sendable, Equatable {
  /// Grey values 0…1, [count · slices, channels, height, width].
  public let images: [Float]
  /// Classes, [count · slices, height, width]; `SegmentationDataset.ignoredClass` where there is no label.
  public let labels: [UInt8]
  /// Pixel weights, [count · slices, height, width], or `nil` without border weighting.
  public let weights: [Float]?
  /// The slice of the dataset that each plane comes from.
  public let pages: [Int]
  /// Slices per sample.
  public let slices: Int
  /// Channels per image.
  public let channels: Int
  /// Rows per image.
  public let height: Int
  /// Columns per image.
  public let width: Int

  /// The number of samples.
  public var count: Int { pages.count / slices }
}

extension SegmentationDataset {
  /// Starts preparing the random samples of one epoch.
  ///
  /// - Parameter plan: how the epoch's samples are dealt out; `nil` for batches of the options' size, one after the other. A sample is the
  ///   same in whichever batch it comes.
  /// - Throws: `DataError` if the options do not fit the dataset.
  public func batches(
    _ options: SampleOptions, epoch: Int, _ plan: BatchPlan? = nil
  ) throws -> BatchLoader<SegmentationBatch> {
    try options.validate(for: self)
    let batches = plan ?? BatchPlan(samples: options.samplesPerEpoch, batchSize: options.batchSize)
    try batches.validate()
    let epoch = EpochPlan(dataset: self, options: options, epoch: epoch)
    let renderer = SampleRenderer(dataset: self, side: options.crop, weighting: options.borderWeighting)
    return BatchLoader(batches, depth: options.depth, workers: options.workers) { range, isCancelled in
      renderer.batch(range.map(epoch.sample), slices: options.slices, isCancelled: isCancelled)
    }
  }

  /// Starts preparing the whole slices in order, without augmentation.
  ///
  /// - Parameters:
  ///   - batchSize: slices per batch; the last batch holds the rest.
  ///   - borderWeighting: the weight map, or `nil` for batches without weights.
  /// - Throws: `DataError` if a parameter is outside its range.
  public func validationBatches(
    batchSize: Int = 1, borderWeighting: BorderWeighting? = nil
  ) throws -> BatchLoader<SegmentationBatch> {
    try checkPositive(("batch size", batchSize))
    try borderWeighting?.validate()
    return BatchLoader(BatchPlan(samples: pages, batchSize: batchSize)) { range, _ in
      wholeSlices(range, borderWeighting: borderWeighting)
    }
  }

  private func wholeSlices(_ range: Range<Int>, borderWeighting: BorderWeighting?) -> SegmentationBatch {
    SegmentationBatch(
      images: range.flatMap(image), labels: range.flatMap(labels),
      weights: borderWeighting.map { weighting in
        range.flatMap { borderWeights(page: $0, weighting: weighting) }
      },
      pages: Array(range), slices: 1, channels: channels, height: height, width: width)
  }
}

extension SampleRenderer {
  /// Renders samples into one batch; `nil` if cancelled meanwhile.
  func batch(_ samples: [EpochPlan.Sample], slices: Int, isCancelled: () -> Bool) -> SegmentationBatch? {
    let area = side * side
    let channels = dataset.channels
    let planes = samples.flatMap { sample in
      (0..<slices).map { slice in
        var transform = sample.transform
        // Noise is of the pixel, as a microscope's.
        transform.grey.noiseSeed &+= UInt64(slice)
        return (page: sample.page + slice, origin: sample.origin, transform: transform)
      }
    }
    var images = [Float](repeating: 0, count: planes.count * channels * area)
    var labels = [UInt8](repeating: 0, count: planes.count * area)
    var weights = [Float](repeating: 0, count: weighting == nil ? 0 : planes.count * area)
    for (index, plane) in planes.enumerated() {
      if isCancelled() { return nil }
      images.withUnsafeMutableBufferPointer { images in
        labels.withUnsafeMutableBufferPointer { labels in
          weights.withUnsafeMutableBufferPointer { weights in
            let target = SampleTarget(
              image: images.baseAddress! + index * channels * area,
              labels: labels.baseAddress! + index * area,
              weights: weighting == nil ? nil : weights.baseAddress! + index * area)
            render(page: plane.page, origin: plane.origin, transform: plane.transform, to: target)
          }
        }
      }
    }
    return SegmentationBatch(
      images: images, labels: labels, weights: weighting == nil ? nil : weights,
      pages: planes.map(\.page), slices: slices, channels: channels, height: side, width: side)
  }
}
