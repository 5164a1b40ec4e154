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
  /// Height and width that the model takes are multiples of this.
  private let extentMultiple: Int

  public var model: Module { network }
  public var batchSize: Int { sampling.batchSize }
  public var samplesPerEpoch: Int { sampling.samplesPerEpoch }

  /// - Parameter model: [N, C, H, W] → logits [N, K or 1, H, W], for H and W that are multiples of `extentMultiple`.
  /// - Throws: `DataError` or ``TrainingError`` when the options do not fit the data or each other.
  public init(
    model: any Layer, extentMultiple: Int, training: SegmentationDataset, validation: SegmentationDataset,
    sampling: SampleOptions, loss: SegmentationLoss = SegmentationLoss()
  ) throws {
    try Self.validate(sampling, loss, extentMultiple: extentMultiple, training: training)
    network = model
    self.training = training
    self.validation = validation
    self.sampling = sampling
    self.loss = loss
    self.extentMultiple = extentMultiple
  }

  /// Checks what can be checked before any network is made.
  public static func validate(
    _ sampling: SampleOptions, _ loss: SegmentationLoss, extentMultiple: Int, training: SegmentationDataset
  ) throws {
    try sampling.validate(for: training)
    guard sampling.crop % extentMultiple == 0 else {
      throw TrainingError(
        "the network takes crops whose side is a multiple of \(extentMultiple), got \(sampling.crop); "
          + "choose \(max(1, sampling.crop / extentMultiple) * extentMultiple) or another multiple")
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

  public func batches(epoch: Int, skipping steps: Int) throws -> BatchLoader<SegmentationBatch> {
    try training.batches(sampling, epoch: epoch, skipping: steps)
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
    let (images, labels, weights) = try tensors(batch, options)
    let logits = try network(images)
    let hasIgnored = batch.labels.contains(SegmentationDataset.ignoredClass)
    return TrainingPass(loss: try loss(logits, labels: labels, weights: weights, hasIgnored: hasIgnored)) {
      let right = try Self.classes(logits.detached()) .== labels
      let counted =
        hasIgnored ? try (labels .!= Int(SegmentationDataset.ignoredClass)).sum().item() : Double(labels.count)
      return [.accuracy: try right.sum().item() / max(1, counted)]
    }
  }

  private func tensors(
    _ batch: SegmentationBatch, _ options: TrainingOptions
  ) throws -> (images: Tensor, labels: Tensor, weights: Tensor?) {
    let shape = [batch.count, batch.height, batch.width]
    return (
      try Tensor(batch.images, shape: [batch.count, batch.channels, batch.height, batch.width])
        .to(device: options.device).to(dtype: options.dtype).contiguous(.channelsLast),
      try Tensor(batch.labels, shape: shape).to(device: options.device).to(dtype: .int64),
      try batch.weights.map { try Tensor($0, shape: shape).to(device: options.device) }
    )
  }

  /// Class indices [N, H, W] of logits [N, K or 1, H, W].
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

  /// Whole slices, mirrored at the border up to a size that the network takes.
  public func evaluate(
    on samples: SegmentationDataset, _ options: TrainingOptions, keepingPredictions: Bool
  ) throws -> Evaluation {
    var evaluation = Evaluation(classes: samples.classes)
    let loader = try samples.validationBatches()
    while let batch = try loader.next() {
      let (images, labels, _) = try tensors(batch, options)
      let logits = try predict(images)
      let loss = try loss(
        logits, labels: labels, weights: nil, hasIgnored: batch.labels.contains(SegmentationDataset.ignoredClass))
      evaluation.loss += try loss.item() / Double(samples.pages)
      let predicted = try Self.classes(logits).to(dtype: .uint8).array(of: UInt8.self)
      evaluation.confusion.add(truth: batch.labels, prediction: predicted)
      if keepingPredictions {
        let probabilities = logits.shape[1] == 1 ? try logits.sigmoid() : try logits.softmax(1)
        evaluation.probabilities.append(try probabilities.array())
        evaluation.predictions.append(predicted)
      }
    }
    return evaluation
  }

  private func predict(_ images: Tensor) throws -> Tensor {
    let (height, width) = (images.shape[2], images.shape[3])
    func missing(_ extent: Int) -> Int { (extentMultiple - extent % extentMultiple) % extentMultiple }
    let (below, right) = (missing(height), missing(width))
    let padded = below + right == 0 ? images : try images.paddedByReflection([0, right, 0, below])
    let logits = try network(padded)
    let whole = try logits.sliced(0..<height, dimension: 2).sliced(0..<width, dimension: 3)
    return try whole.to(dtype: .float32)
  }

  public var digest: String { "\(training.digest) \(validation.digest)" }

  public var fingerprint: [String: String] {
    [
      "crop": "\(sampling.crop)", "batch-size": "\(sampling.batchSize)",
      "samples-per-epoch": "\(sampling.samplesPerEpoch)", "seed": "\(sampling.seed)",
      "augment": "\(sampling.augmentation)", "border-weights": "\(sampling.borderWeighting.map { "\($0)" } ?? "none")",
      "loss": "\(loss)",
    ]
  }
}
