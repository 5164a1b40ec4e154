import NormaData
import NormaNN
import NormaNormalization
import NormaRecords
import NormaTraining

/// A class or a number for every image, by a network of any kind.
public struct ImageWorkload: Workload {
  /// What every cell trains on.
  public let training: ImageDataset
  /// Chooses the epoch.
  public let validation: ImageDataset
  /// What scores are taken on; nil takes them on the validation images.
  public let test: ImageDataset?
  public let options: TrainingOptions
  /// Of which a cell replaces batch size and seed.
  public let sampling: ImageSampling
  /// Of the training images, applied to all.
  public let standardization: Standardization?
  /// The network of a cell.
  public let network: (Grid.Cell, CellGenerators) throws -> any Layer
  /// Throws for a cell whose network cannot be.
  public let check: (Grid.Cell) throws -> Void

  /// Only keeps what is given; `validate` checks it against a cell.
  /// - Parameter test: nil scores on the validation images.
  public init(
    training: ImageDataset, validation: ImageDataset, test: ImageDataset?, options: TrainingOptions,
    sampling: ImageSampling, standardization: Standardization?, check: @escaping (Grid.Cell) throws -> Void,
    network: @escaping (Grid.Cell, CellGenerators) throws -> any Layer
  ) {
    self.training = training
    self.validation = validation
    self.test = test
    self.options = options
    self.sampling = sampling
    self.standardization = standardization
    self.check = check
    self.network = network
  }

  /// The images that scores are taken on.
  public var scored: ImageDataset { test ?? validation }

  public func validate(_ cell: Grid.Cell) throws {
    for others in [validation, test].compactMap({ $0 }) {
      try ImageTask.validate(sampling.of(cell.record), training: training, validation: others)
    }
    try check(cell)
  }

  public func task(_ cell: Grid.Cell, _ generators: CellGenerators) throws -> ImageTask {
    try ImageTask(
      model: network(cell, generators), training: training, validation: validation, sampling: sampling.of(cell.record),
      standardization: standardization)
  }

  public func score(_ trainer: ImageTrainer, _ record: inout RunRecord) throws -> ImageTask.Evaluation {
    let evaluation = try trainer.evaluate(on: scored)
    var scores = evaluation.scores.merging([.loss: evaluation.loss]) { $1 }
    if let f1 = evaluation.f1 { scores[.f1] = f1 }
    record.scores = scores.byName
    return evaluation
  }

  /// What the best constant prediction scores on the scored images: the most frequent class, or the median for the absolute and
  /// the mean for the squared error.
  public var constantScores: [ScoreName: Double] {
    switch scored.targets {
    case .classes(let classes, _):
      return [.accuracy: Double(scored.classCounts?.max() ?? 0) / Double(max(1, classes.count))]
    case .values(let values, _):
      let sorted = values.map(Double.init).sorted()
      let (median, mean) = (sorted[sorted.count / 2], sorted.reduce(0, +) / Double(sorted.count))
      func average(_ error: (Double) -> Double) -> Double { sorted.reduce(0) { $0 + error($1) } / Double(sorted.count) }
      return [.mae: average { abs($0 - median) }, .loss: average { ($0 - mean) * ($0 - mean) }]
    }
  }
}
