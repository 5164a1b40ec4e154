import NormaData
import NormaMetrics
import NormaNN
import NormaRecords
import NormaTensor

public typealias SegmentationTrainer = Trainer<SegmentationTask>

/// Classes for every pixel, trained on random crops of the slices of one dataset and validated on whole slices of another.
public struct SegmentationTask: TrainingTask {
  private let network: any Layer
  private let training: SegmentationDataset
  public let validation: SegmentationDataset
  private let sampling: SampleOptions
  private let loss: SegmentationLoss
  private let geometry: CropGeometry

  public var model: Module { network }
  public var batchSize: Int { sampling.batchSize }
  public var samplesPerEpoch: Int { sampling.samplesPerEpoch }

  /// - Parameters:
  ///   - model: [N, C, H, W] → logits [N, K or 1, H, W], or [N, C, D, H, W] for volumes; the output may be smaller.
  ///   - geometry: which extents these are.
  /// - Throws: `DataError` or ``TrainingError`` when the options do not fit the data or each other.
  public init(
    model: any Layer, geometry: CropGeometry, training: SegmentationDataset, validation: SegmentationDataset,
    sampling: SampleOptions, loss: SegmentationLoss = SegmentationLoss()
  ) throws {
    try Self.validate(sampling, loss, geometry, training: training)
    network = model
    self.training = training
    self.validation = validation
    self.sampling = sampling
    self.loss = loss
    self.geometry = geometry
  }

  /// Checks what can be checked before any network is made.
  public static func validate(
    _ sampling: SampleOptions, _ loss: SegmentationLoss, _ geometry: CropGeometry, training: SegmentationDataset
  ) throws {
    try sampling.validate(for: training)
    func advice(_ extent: Int, _ most: Int) -> String {
      let nearest = geometry.nearest(to: extent)
      return nearest <= most
        ? "choose \(nearest)" : "the data have \(most), too few for any: choose a network of less --depth"
    }
    guard geometry.outputExtent(sampling.crop) != nil else {
      throw TrainingError(
        "the network takes crops with sides \(geometry.extentsInWords), got \(sampling.crop); "
          + advice(sampling.crop, min(training.height, training.width)))
    }
    if geometry.dimensions == 3 {
      guard sampling.slices > 1, geometry.outputExtent(sampling.slices) != nil else {
        throw TrainingError(
          "the network takes volumes with a number of slices \(geometry.extentsInWords), got \(sampling.slices); "
            + advice(sampling.slices, training.pages))
      }
    } else if sampling.slices > 1 {
      throw TrainingError("a network of 2 dimensions takes samples of one slice, got \(sampling.slices)")
    }
    if let weights = loss.classWeights {
      guard weights.count == training.classes, weights.allSatisfy({ $0 >= 0 && $0.isFinite }),
        weights.contains(where: { $0 > 0 })
      else {
        throw TrainingError(
          "\(training.classes) class weights of at least 0, not all 0, are needed for the \(training.classes) classes, got \(weights)"
        )
      }
    }
  }

  public func batches(epoch: Int, _ plan: BatchPlan) throws -> BatchLoader<SegmentationBatch> {
    try training.batches(sampling, epoch: epoch, plan)
  }

  public func sampleCount(_ batch: SegmentationBatch) -> Int { batch.count }

  public func probeBatch() throws -> SegmentationBatch {
    var sampling = sampling
    (sampling.samplesPerEpoch, sampling.seed, sampling.workers) = (sampling.batchSize, 0, 1)
    // Epochs of trainings count from 0.
    guard let batch = try training.batches(sampling, epoch: -1).next() else {
      preconditionFailure("a batch has at least one sample")
    }
    return batch
  }

  public func pass(_ batch: SegmentationBatch, _ options: TrainingOptions) throws -> TrainingPass {
    let (images, labels, weights) = try tensors(batch, slices: batch.slices, isForLoss: true, options)
    let logits = try network(images)
    let hasIgnored = batch.labels.contains(SegmentationDataset.ignoredClass)
    return TrainingPass(loss: try loss(logits, labels: labels, weights: weights, hasIgnored: hasIgnored)) {
      let right = try Self.classes(logits.detached()) .== labels
      let counted =
        hasIgnored ? try (labels .!= Int(SegmentationDataset.ignoredClass)).sum().item() : Double(labels.count)
      return [.accuracy: try right.sum().item() / max(1, counted)]
    }
  }

  /// - Parameters:
  ///   - slices: how many planes belong together.
  ///   - isForLoss: whether labels and weights are to be those of the output of a network that takes the images as they are.
  private func tensors(
    _ batch: SegmentationBatch, slices: Int, isForLoss: Bool, _ options: TrainingOptions
  ) throws -> (images: Tensor, labels: Tensor, weights: Tensor?) {
    let planes = batch.pages.count
    var images = try Tensor(batch.images, shape: [planes, batch.channels, batch.height, batch.width])
      .to(device: options.device).to(dtype: options.dtype)
    if geometry.dimensions == 3 {
      images = try images.reshaped([planes / slices, slices] + images.shape.dropFirst()).transposed(1, 2)
    }
    let shape =
      (geometry.dimensions == 3 ? [planes / slices, slices] : [planes]) + [batch.height, batch.width]
    /// Without the pixels that the network reads and gives no output for.
    func inner(_ tensor: Tensor) throws -> Tensor {
      guard isForLoss, geometry.margin > 0 else { return tensor }
      return try (1..<tensor.rank).reduce(tensor) {
        try $0.sliced(geometry.margin..<$0.shape[$1] - geometry.margin, dimension: $1)
      }
    }
    return (
      try geometry.dimensions == 3 ? images.contiguous() : images.contiguous(.channelsLast),
      try inner(Tensor(batch.labels, shape: shape).to(device: options.device).to(dtype: .int64)),
      try batch.weights.map { try inner(Tensor($0, shape: shape).to(device: options.device)) }
    )
  }

  /// Class indices [N, spatial…] of logits [N, K or 1, spatial…].
  private static func classes(_ logits: Tensor) throws -> Tensor {
    logits.shape[1] == 1
      ? try (logits.squeezed(1) .> 0.0).to(dtype: .int64) : try logits.argmax(1)
  }

  // MARK: - Evaluation

  /// What the network does on whole slices.
  public struct Evaluation: TrainingEvaluation {
    /// Mean over the slices.
    public var loss = 0.0
    public var confusion: ConfusionMatrix
    /// Per slice: of class 1 [H, W] for two classes, of every class [K, H, W] for more. Empty unless asked for.
    public var probabilities: [[Float]] = []
    /// Per slice: the predicted class of every pixel [H, W].
    public var predictions: [[UInt8]] = []

    init(classes: Int) { confusion = ConfusionMatrix(classes: classes) }

    public var scores: [ScoreName: Double] { [.accuracy: confusion.accuracy] }
    public var dice: [Double] { (0..<confusion.classes).map(confusion.dice) }
    public var intersectionOverUnion: [Double] { (0..<confusion.classes).map(confusion.intersectionOverUnion) }
    public var collapsedToClass: Int? {
      confusion.constantAccuracy < 1 ? confusion.constantPrediction : nil
    }
  }

  /// Whole slices, or all of them as one volume, mirrored at the border up to a size that the network takes.
  public func evaluate(
    on samples: SegmentationDataset, _ options: TrainingOptions, keepingPredictions: Bool
  ) throws -> Evaluation {
    var evaluation = Evaluation(classes: samples.classes)
    let slices = geometry.dimensions == 3 ? samples.pages : 1
    let loader = try samples.validationBatches(batchSize: slices)
    let area = samples.height * samples.width
    let found = try loader.results(isShared: !keepingPredictions) { batch in
      let (images, labels, _) = try tensors(batch, slices: slices, isForLoss: false, options)
      let logits = try predict(images)
      let loss = try loss(
        logits, labels: labels, weights: nil, hasIgnored: batch.labels.contains(SegmentationDataset.ignoredClass))
      let predicted = try Self.classes(logits).to(dtype: .uint8).array(of: UInt8.self)
      var confusion = ConfusionMatrix(classes: samples.classes)
      confusion.add(truth: batch.labels, prediction: predicted)
      if keepingPredictions {
        let probabilities = logits.shape[1] == 1 ? try logits.sigmoid() : try logits.softmax(1)
        for slice in 0..<slices {
          let plane = slices == 1 ? probabilities : try probabilities.selected(slice, dimension: 2)
          evaluation.probabilities.append(try plane.array())
          evaluation.predictions.append(Array(predicted[slice * area..<(slice + 1) * area]))
        }
      }
      return [try loss.item() * Double(slices) / Double(samples.pages)] + confusion.counts.map(Double.init)
    }
    for batch in found {
      evaluation.loss += batch[0]
      evaluation.confusion.add(counts: batch.dropFirst().map { Int($0) })
    }
    return evaluation
  }

  /// Logits of every pixel, from images that are mirrored at their borders as far as the network needs it.
  private func predict(_ images: Tensor) throws -> Tensor {
    let extents = Array(images.shape.dropFirst(2))
    var input = images
    for (axis, extent) in extents.enumerated() {
      let range = geometry.inputRange(extent)
      if range != 0..<extent { input = try input.mirrored(range, dimension: axis + 2) }
    }
    var logits = try network(input)
    for (axis, extent) in extents.enumerated() {
      let first = -geometry.inputRange(extent).lowerBound - geometry.margin
      if logits.shape[axis + 2] != extent { logits = try logits.sliced(first..<first + extent, dimension: axis + 2) }
    }
    return try logits.to(dtype: .float32)
  }

  public var digest: String { "\(training.digest) \(validation.digest)" }

  public var fingerprint: [String: String] {
    [
      "crop": "\(sampling.crop)", "crop-slices": "\(sampling.slices)", "batch-size": "\(sampling.batchSize)",
      "samples-per-epoch": "\(sampling.samplesPerEpoch)", "seed": "\(sampling.seed)",
      "augment": "\(sampling.augmentation)", "border-weights": "\(sampling.borderWeighting.map { "\($0)" } ?? "none")",
      "loss": "\(loss)",
    ]
  }
}

extension Tensor {
  /// The positions of a range along a dimension; those outside are mirrored at the first and the last, which are not repeated,
  /// as often as it takes.
  fileprivate func mirrored(_ range: Range<Int>, dimension: Int) throws -> Tensor {
    let extent = shape[dimension]
    let period = max(1, 2 * (extent - 1))
    let places = range.map { place in
      let rest = (place % period + period) % period
      return Int64(Swift.min(rest, period - rest))
    }
    return try gatheredRows(Tensor(places, device: device), dimension: dimension)
  }
}
