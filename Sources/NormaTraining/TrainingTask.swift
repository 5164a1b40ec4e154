import NormaData
import NormaNN
import NormaRecords
import NormaTensor

/// What a network is trained for: the network with its samples, its loss and its scores.
public protocol TrainingTask<Evaluation> {
  /// Samples that go through the network together, as background threads prepare them.
  associatedtype Batch: Sendable
  /// What networks are evaluated on.
  associatedtype Samples
  associatedtype Evaluation: TrainingEvaluation

  var model: Module { get }
  /// What chooses the epoch.
  var validation: Samples { get }
  /// Samples that go through the network together; the last batch of an epoch may have fewer.
  var batchSize: Int { get }
  var samplesPerEpoch: Int { get }

  /// The batches of an epoch, from 0, that a plan leaves for this process.
  func batches(epoch: Int, _ plan: BatchPlan) throws -> BatchLoader<Batch>

  func sampleCount(_ batch: Batch) -> Int

  /// As many samples as a step has, drawn from the training data as no epoch draws them: for ``TrainingProbe``. They depend on the
  /// data and how they are sampled alone, not on the seed.
  func probeBatch() throws -> Batch

  /// One pass of the network over a batch in training.
  /// - Parameter options: type and device.
  func pass(_ batch: Batch, _ options: TrainingOptions) throws -> TrainingPass

  /// Scores the network, which is in evaluation mode; no gradients are recorded.
  /// - Parameter keepingPredictions: whether the evaluation shall hold what the network made of every sample.
  func evaluate(on samples: Samples, _ options: TrainingOptions, keepingPredictions: Bool) throws -> Evaluation

  /// Tells the values of training and validation samples from others.
  var digest: String { get }

  /// What of the task has to be equal for a training to go on, by the names on the command line.
  var fingerprint: [String: String] { get }
}

/// What a pass over a batch gave.
public struct TrainingPass {
  /// What is minimized, a scalar.
  public var loss: Tensor
  /// Means over the batch of what is measured beside the loss.
  public var scores: () throws -> [ScoreName: Double]

  public init(loss: Tensor, scores: @escaping () throws -> [ScoreName: Double]) {
    self.loss = loss
    self.scores = scores
  }
}

/// What a network does on samples that do not train it.
public protocol TrainingEvaluation {
  /// Mean over the samples.
  var loss: Double { get }
  /// What is measured beside the loss in every epoch.
  var scores: [ScoreName: Double] { get }
  /// One per class, where there are masks.
  var dice: [Double] { get }
  var intersectionOverUnion: [Double] { get }
  /// The class that is predicted for everything though not everything is of it; nil where there is none.
  var collapsedToClass: Int? { get }
}

extension TrainingEvaluation {
  public var dice: [Double] { [] }
  public var intersectionOverUnion: [Double] { [] }
  public var collapsedToClass: Int? { nil }
}

extension [ScoreName: Double] {
  /// As records hold them.
  public var byName: [String: Double] {
    [String: Double](uniqueKeysWithValues: map { ($0.key.rawValue, $0.value) })
  }
}
