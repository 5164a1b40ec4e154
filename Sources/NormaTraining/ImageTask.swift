import NormaData
import NormaMetrics
import NormaNN
import NormaRecords
import NormaTensor

public typealias ImageTrainer = Trainer<ImageTask>

/// A class or a number for every image: cross-entropy and accuracy, or mean squared and mean absolute error.
public struct ImageTask: TrainingTask {
  private let network: any Layer
  private let training: ImageDataset
  public let validation: ImageDataset
  private let sampling: ImageSampling
  private let standardization: Standardization?
  private let targets: Targets

  private enum Targets {
    case classes(Int)
    case values
  }

  public var model: Module { network }
  public var batchSize: Int { sampling.batchSize }
  public let samplesPerEpoch: Int

  /// - Parameters:
  ///   - model: [N, C, H, W] → logits [N, classes], or [N, 1] where the dataset has numbers.
  ///   - standardization: applied to every image.
  /// - Throws: `DataError` when the sampling does not fit the data, ``TrainingError`` when the datasets do not fit each other.
  public init(
    model: any Layer, training: ImageDataset, validation: ImageDataset, sampling: ImageSampling,
    standardization: Standardization?
  ) throws {
    try Self.validate(sampling, training: training, validation: validation)
    network = model
    self.training = training
    self.validation = validation
    self.standardization = standardization
    targets = training.classCounts.map { .classes($0.count) } ?? .values
    let count = sampling.samplesPerEpoch ?? training.count
    // Norms over the samples cannot train on a last batch of one image; another one is left out in every epoch.
    samplesPerEpoch = sampling.batchSize > 1 && count > 1 && count % sampling.batchSize == 1 ? count - 1 : count
    self.sampling = sampling
  }

  /// Checks what can be checked before any network is made.
  public static func validate(_ sampling: ImageSampling, training: ImageDataset, validation: ImageDataset) throws {
    try sampling.validate(for: training)
    let shapes = [training, validation].map { [$0.channels, $0.height, $0.width] }
    guard shapes[0] == shapes[1], training.classCounts?.count == validation.classCounts?.count else {
      throw TrainingError(
        "images of \(training.name) are \(shapes[0]) and of \(validation.name) \(shapes[1]), with "
          + "\(training.classCounts?.count ?? 0) and \(validation.classCounts?.count ?? 0) classes; both must be the same"
      )
    }
  }

  public func batches(epoch: Int, _ plan: BatchPlan) throws -> BatchLoader<ImageBatch> {
    var sampling = sampling
    sampling.samplesPerEpoch = samplesPerEpoch
    return try training.batches(sampling, standardization: standardization, epoch: epoch, plan)
  }

  public func sampleCount(_ batch: ImageBatch) -> Int { batch.count }

  public func probeBatch() throws -> ImageBatch { try training.probeBatch(sampling, standardization: standardization) }

  public func pass(_ batch: ImageBatch, _ options: TrainingOptions) throws -> TrainingPass {
    let (output, target) = try passed(batch, options)
    return TrainingPass(loss: try loss(output, target)) {
      let output = try output.detached()
      switch targets {
      case .classes: return [.accuracy: try (output.argmax(1) .== target).sum().item() / Double(batch.count)]
      case .values: return [.mae: try (output - target).abs().mean().item()]
      }
    }
  }

  /// The network's output, [N, classes] or [N], and what it should be, [N].
  private func passed(_ batch: ImageBatch, _ options: TrainingOptions) throws -> (output: Tensor, target: Tensor) {
    let images = try Tensor(batch.inputs, shape: [batch.count, batch.channels, batch.height, batch.width])
      .to(device: options.device).to(dtype: options.dtype).contiguous(.channelsLast)
    let output = try network(images)
    let widened = try output.to(dtype: output.dtype.accumulation)
    switch targets {
    case .classes(let classes):
      guard output.shape == [batch.count, classes], let labels = batch.classes else { throw misshaped(output, classes) }
      return (widened, try Tensor(labels).to(device: options.device))
    case .values:
      guard output.shape == [batch.count, 1], let values = batch.values else { throw misshaped(output, 1) }
      return (try widened.squeezed(1), try Tensor(values).to(device: options.device).to(dtype: widened.dtype))
    }
  }

  private func misshaped(_ output: Tensor, _ columns: Int) -> TrainingError {
    TrainingError("the network should give [N, \(columns)] for \(training.name), but gives \(output.shape)")
  }

  private func loss(_ output: Tensor, _ target: Tensor) throws -> Tensor {
    switch targets {
    case .classes: try output.crossEntropy(target: target)
    case .values: try output.meanSquaredError(target: target)
    }
  }

  // MARK: - Evaluation

  public struct Evaluation: TrainingEvaluation {
    public fileprivate(set) var loss = 0.0
    /// Where the targets are classes.
    public fileprivate(set) var confusion: ConfusionMatrix?
    /// Where they are numbers.
    public fileprivate(set) var meanAbsoluteError: Double?
    /// Per image, in order: the probabilities of the classes, or the number. Empty unless asked for.
    public fileprivate(set) var outputs: [[Float]] = []

    public var scores: [ScoreName: Double] {
      var scores: [ScoreName: Double] = [:]
      if let confusion { scores[.accuracy] = confusion.accuracy }
      if let meanAbsoluteError { scores[.mae] = meanAbsoluteError }
      return scores
    }

    public var collapsedToClass: Int? {
      confusion.flatMap { $0.constantAccuracy < 1 ? $0.constantPrediction : nil }
    }

    /// The harmonic mean of precision and recall, over the classes; nil where the targets are numbers.
    public var f1: Double? {
      confusion.map { confusion in
        (0..<confusion.classes).reduce(0) { $0 + confusion.dice($1) } / Double(confusion.classes)
      }
    }
  }

  public func evaluate(
    on samples: ImageDataset, _ options: TrainingOptions, keepingPredictions: Bool
  ) throws -> Evaluation {
    var evaluation = Evaluation()
    if case .classes(let classes) = targets { evaluation.confusion = ConfusionMatrix(classes: classes) }
    // As many at a time as are fast, and never one alone where there are more: with norms that look at the batch in evaluation too,
    // what comes out depends on the others.
    var size = max(batchSize, min(64, 1 + 1_000_000 / samples.valuesPerImage))
    if size > 1, samples.count % size == 1 { size += 1 }
    let loader = try samples.evaluationBatches(batchSize: size, standardization: standardization)
    let found = try loader.results(isShared: !keepingPredictions) { batch in
      let (output, target) = try passed(batch, options)
      let share = Double(batch.count) / Double(samples.count)
      let loss = share * (try loss(output, target).item())
      switch targets {
      case .classes(let classes):
        var confusion = ConfusionMatrix(classes: classes)
        confusion.add(truth: batch.classes ?? [], prediction: try output.argmax(1).array(of: Int64.self))
        if keepingPredictions {
          let probabilities = try output.softmax(1).to(dtype: .float32).array(of: Float.self)
          evaluation.outputs += (0..<batch.count).map { Array(probabilities[$0 * classes..<($0 + 1) * classes]) }
        }
        return [loss] + confusion.counts.map(Double.init)
      case .values:
        if keepingPredictions {
          evaluation.outputs += try output.to(dtype: .float32).array(of: Float.self).map { [$0] }
        }
        return [loss, share * (try (output - target).abs().mean().item())]
      }
    }
    for batch in found {
      evaluation.loss += batch[0]
      switch targets {
      case .classes: evaluation.confusion?.add(counts: batch.dropFirst().map { Int($0) })
      case .values: evaluation.meanAbsoluteError = (evaluation.meanAbsoluteError ?? 0) + batch[1]
      }
    }
    return evaluation
  }

  public var digest: String { "\(training.digest) \(validation.digest)" }

  public var fingerprint: [String: String] {
    [
      "batch-size": "\(sampling.batchSize)", "samples-per-epoch": "\(samplesPerEpoch)", "seed": "\(sampling.seed)",
      "augment": "\(sampling.augmentation)", "standardization": "\(standardization.map { "\($0)" } ?? "none")",
    ]
  }
}

extension ImageDataset {
  /// `TrainingTask.probeBatch` of tasks on whole images.
  package func probeBatch(_ sampling: ImageSampling, standardization: Standardization? = nil) throws -> ImageBatch {
    var sampling = sampling
    (sampling.samplesPerEpoch, sampling.seed, sampling.workers) = (min(sampling.batchSize, count), 0, 1)
    // Epochs of trainings count from 0.
    guard let batch = try batches(sampling, standardization: standardization, epoch: -1).next() else {
      preconditionFailure("a batch has at least one sample")
    }
    return batch
  }
}
