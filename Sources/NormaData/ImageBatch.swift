/// Images that go through a network together.
public struct ImageBatch: Sendable, Equatable {
  /// [count, channels, height, width].
  public let inputs: [Float]
  /// The class of each image; `nil` where the targets are numbers.
  public let classes: [Int64]?
  /// The number of each image; `nil` where the targets are classes.
  public let values: [Float]?
  /// Which images of the dataset they are.
  public let indices: [Int]
  /// Channels per image.
  public let channels: Int
  /// Rows per image.
  public let height: Int
  /// Columns per image.
  public let width: Int

  /// The number of images.
  public var count: Int { indices.count }
}

/// How whole images are varied while training.
public struct ImageAugmentation: Sendable, Codable, Equatable {
  /// What lies beyond the edges of a shifted image.
  public enum Padding: String, Sendable, Codable, CaseIterable {
    /// Zeros, from before standardization: black.
    case zero
    /// The mirror image; the edge pixel itself is not repeated.
    case mirror
  }

  /// Shifts along each axis by a whole number of pixels from −shift … shift.
  public var shift: Int
  /// What comes in from beyond the edges.
  public var padding: Padding
  /// Whether every other image, by chance, is mirrored left to right. Not for optical flow, whose direction would be wrong.
  public var flips: Bool

  /// Varies nothing unless told to.
  public init(shift: Int = 0, padding: Padding = .zero, flips: Bool = false) {
    self.shift = shift
    self.padding = padding
    self.flips = flips
  }

  /// Images as they are.
  public static let none = ImageAugmentation()

  struct Draw {
    var (x, y) = (0, 0)
    var isFlipped = false
  }

  func draw(using random: inout RandomSource) -> Draw {
    var draw = Draw()
    if shift > 0 {
      draw.x = random.integer(below: 2 * shift + 1) - shift
      draw.y = random.integer(below: 2 * shift + 1) - shift
    }
    if flips { draw.isFlipped = random.integer(below: 2) == 1 }
    return draw
  }
}

/// Which images of a dataset to take in an epoch, and how.
public struct ImageSampling: Sendable, Codable, Equatable {
  /// Images per batch; the last batch of an epoch holds the rest.
  public var batchSize: Int
  /// Images per epoch; `nil` for every image once. More than there are begin another random order of all.
  public var samplesPerEpoch: Int?
  /// Decides everything that is random.
  public var seed: UInt64
  /// How images are varied.
  public var augmentation: ImageAugmentation
  /// Background threads; they change the speed and nothing else.
  public var workers: Int
  /// Batches prepared ahead.
  public var depth: Int

  /// Every image once, as it is, unless told otherwise.
  public init(
    batchSize: Int, samplesPerEpoch: Int? = nil, seed: UInt64, augmentation: ImageAugmentation = .none,
    workers: Int = 2, depth: Int = 4
  ) {
    self.batchSize = batchSize
    self.samplesPerEpoch = samplesPerEpoch
    self.seed = seed
    self.augmentation = augmentation
    self.workers = workers
    self.depth = depth
  }

  /// Throws `DataError` unless images can be drawn from `dataset`.
  public func validate(for dataset: ImageDataset) throws {
    try checkPositive(
      ("batch size", batchSize), ("samples per epoch", samplesPerEpoch ?? 1), ("workers", workers),
      ("queue depth", depth))
    let greatest = min(dataset.height, dataset.width) - 1
    guard augmentation.shift >= 0, augmentation.shift <= greatest else {
      throw DataError(
        .parameter,
        "Expected a shift of 0 to \(greatest) pixels for images of \(dataset.height)×\(dataset.width), received "
          + "\(augmentation.shift).")
    }
    if case .values = dataset.targets, augmentation.flips {
      throw DataError(
        .parameter,
        "Expected no flips for \(dataset.name): mirrored, its streams would point the wrong way; leave them out.")
    }
  }
}

extension ImageDataset {
  /// Starts preparing the images of one epoch, in an order that seed and epoch decide.
  ///
  /// How an image is varied follows from the seed, the epoch and its place in the order.
  ///
  /// - Parameters:
  ///   - standardization: applied to every image; `nil` leaves 0…1 or the real values.
  ///   - plan: how the epoch's images are dealt out; `nil` for batches of the sampling's size, one after the other. An image is varied alike
  ///     in whichever batch it comes.
  /// - Throws: `DataError` if the sampling does not fit the dataset.
  public func batches(
    _ sampling: ImageSampling, standardization: Standardization? = nil, epoch: Int, _ plan: BatchPlan? = nil
  ) throws -> BatchLoader<ImageBatch> {
    try sampling.validate(for: self)
    try standardization?.validate(for: self)
    let source = RandomSource(seed: sampling.seed).derive(stream: UInt64(bitPattern: Int64(epoch)))
    var orders = source.derive(stream: 0)
    let order = orders.permutations(of: count, length: sampling.samplesPerEpoch ?? count)
    let plan = plan ?? BatchPlan(samples: order.count, batchSize: sampling.batchSize)
    try plan.validate()
    return BatchLoader(plan, depth: sampling.depth, workers: sampling.workers) { range, isCancelled in
      batch(Array(order[range]), standardization, sampling.augmentation.padding, isCancelled) { place in
        var random = source.derive(stream: 1, UInt64(range.lowerBound + place))
        return sampling.augmentation.draw(using: &random)
      }
    }
  }

  /// Starts preparing all images in order, as they are.
  ///
  /// - Throws: `DataError` if a parameter is outside its range.
  public func evaluationBatches(
    batchSize: Int, standardization: Standardization? = nil
  ) throws -> BatchLoader<ImageBatch> {
    try checkPositive(("batch size", batchSize))
    try standardization?.validate(for: self)
    return BatchLoader(BatchPlan(samples: count, batchSize: batchSize)) { range, isCancelled in
      batch(Array(range), standardization, .zero, isCancelled) { _ in .init() }
    }
  }

  /// Nil if cancelled meanwhile.
  private func batch(
    _ indices: [Int], _ standardization: Standardization?, _ padding: ImageAugmentation.Padding,
    _ isCancelled: () -> Bool, _ draw: (Int) -> ImageAugmentation.Draw
  ) -> ImageBatch? {
    var inputs = [Float](repeating: 0, count: indices.count * valuesPerImage)
    for (place, index) in indices.enumerated() {
      if isCancelled() { return nil }
      inputs.withUnsafeMutableBufferPointer { inputs in
        render(index, draw(place), padding, standardization, to: inputs.baseAddress! + place * valuesPerImage)
      }
    }
    var (classes, values): ([Int64]?, [Float]?)
    switch targets {
    case .classes(let all, _): classes = indices.map { Int64(all[$0]) }
    case .values(let all, _): values = indices.map { all[$0] }
    }
    return ImageBatch(
      inputs: inputs, classes: classes, values: values, indices: indices, channels: channels, height: height,
      width: width)
  }

  private func render(
    _ index: Int, _ draw: ImageAugmentation.Draw, _ padding: ImageAugmentation.Padding,
    _ standardization: Standardization?, to target: UnsafeMutablePointer<Float>
  ) {
    let start = start(of: index)
    switch pixels {
    case .bytes(let bytes):
      bytes.withUnsafeBufferPointer { bytes in
        copy(bytes.baseAddress! + start, draw, padding, to: target) { Float($0) / 255 }
      }
    case .reals(let values):
      values.withUnsafeBufferPointer { values in
        copy(values.baseAddress! + start, draw, padding, to: target) { $0 }
      }
    }
    guard let standardization else { return }
    let area = height * width
    for channel in 0..<channels {
      let (mean, deviation) = (standardization.means[channel], standardization.deviations[channel])
      let plane = target + channel * area
      for pixel in 0..<area { plane[pixel] = (plane[pixel] - mean) / deviation }
    }
  }

  @inline(__always)
  private func copy<Pixel>(
    _ image: UnsafePointer<Pixel>, _ draw: ImageAugmentation.Draw, _ padding: ImageAugmentation.Padding,
    to target: UnsafeMutablePointer<Float>, _ value: (Pixel) -> Float
  ) {
    /// Where a pixel comes from along one axis; nil from beyond the edge.
    func source(_ place: Int, _ extent: Int) -> Int? {
      if place >= 0 && place < extent { return place }
      if padding == .zero { return nil }
      return place < 0 ? -place : 2 * (extent - 1) - place
    }
    let columns = (0..<width).map { x in source((draw.isFlipped ? width - 1 - x : x) - draw.x, width) }
    for channel in 0..<channels {
      for y in 0..<height {
        let line = target + (channel * height + y) * width
        guard let row = source(y - draw.y, height) else {
          for x in 0..<width { line[x] = 0 }
          continue
        }
        let from = image + (channel * height + row) * width
        for x in 0..<width { line[x] = columns[x].map { value(from[$0]) } ?? 0 }
      }
    }
  }
}
