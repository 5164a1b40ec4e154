import NormaData
import NormaModels
import NormaNormalization
import NormaRecords
import NormaTensor
import NormaTraining

/// Feed-forward style transfer.
public struct StyleWorkload: Workload {
  /// The network of a cell.
  public enum Network: Sendable {
    case transformation(@Sendable (Normalization) -> TransformationNetwork.Options)
    /// Made of the classifier up to a stage. It has no norms.
    case adaptive(stage: String)
  }

  /// What every cell trains on.
  public let training: ImageDataset
  /// Chooses the epoch.
  public let validation: ImageDataset
  /// What scores are taken on; nil takes them on the validation pictures.
  public let test: ImageDataset?
  public let goal: StyleGoal
  public let options: TrainingOptions
  /// Of which a cell replaces batch size and seed.
  public let sampling: ImageSampling
  public let network: Network

  /// Only keeps what is given; `validate` checks it against a cell.
  /// - Parameters:
  ///   - test: nil scores on the validation pictures.
  ///   - goal: on the device of the options.
  public init(
    training: ImageDataset, validation: ImageDataset, test: ImageDataset?, goal: StyleGoal, options: TrainingOptions,
    sampling: ImageSampling, network: Network
  ) {
    self.training = training
    self.validation = validation
    self.test = test
    self.goal = goal
    self.options = options
    self.sampling = sampling
    self.network = network
  }

  /// The pictures that scores are taken on.
  public var scored: ImageDataset { test ?? validation }

  public func validate(_ cell: Grid.Cell) throws {
    try StyleTask.validate(sampling.of(cell.record), training: training, validation: validation)
    try network.check(cell.normalization)
  }

  public func task(_ cell: Grid.Cell, _ generators: CellGenerators) throws -> StyleTask {
    let made: StyleTask.Network
    switch network {
    case .transformation(let options):
      made = .transformation(try TransformationNetwork(options(cell.normalization), generator: generators.weights))
    case .adaptive(let stage):
      var options = AdaptiveStyleNetwork.Options()
      (options.features, options.stage) = (goal.loss.features.options, stage)
      let network = try AdaptiveStyleNetwork(options, generator: generators.weights)
      try network.encoder.load(
        stateDictionary: Dictionary(
          uniqueKeysWithValues: goal.loss.features.stateDictionary().map { ($0.key, $0.value) }))
      made = .adaptive(network)
    }
    return try StyleTask(
      network: made, goal: goal, training: training, validation: validation, sampling: sampling.of(cell.record))
  }

  public func score(_ trainer: StyleTrainer, _ record: inout RunRecord) throws -> StyleTask.Evaluation {
    let evaluation = try trainer.evaluate(on: scored)
    record.scores = evaluation.scores.merging([.loss: evaluation.loss]) { $1 }.byName
    return evaluation
  }
}

extension StyleWorkload.Network {
  /// - Throws: for a norm with which there is no such network.
  public func check(_ normalization: Normalization) throws {
    switch self {
    case .transformation(let options): try options(normalization).validate()
    case .adaptive:
      guard normalization == .none else {
        throw TrainingError(
          "the adaptive network has no norms to choose, as it gives features the style's statistics itself; take 'none' in the "
            + "place of '\(normalization.name)', or the network transformation")
      }
    }
  }
}
