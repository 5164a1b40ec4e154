import NormaData
import NormaMetrics
import NormaModels
import NormaNormalization
import NormaRecords
import NormaTraining

/// Segmentation by the U-Net.
public struct SegmentationWorkload: Workload {
  /// What every cell trains on.
  public let training: SegmentationDataset
  /// Chooses the epoch, and the threshold of the scores of regions.
  public let validation: SegmentationDataset
  /// What scores are taken on; nil takes them on the validation slices.
  public let test: SegmentationDataset?
  public let options: TrainingOptions
  /// Of which a cell replaces batch size and seed.
  public let sampling: SampleOptions
  public let loss: SegmentationLoss
  /// The U-Net for a cell's normalization.
  public let network: (Normalization) -> UNet.Options

  /// Only keeps what is given; `validate` checks it against a cell.
  /// - Parameter test: nil scores on the validation slices.
  public init(
    training: SegmentationDataset, validation: SegmentationDataset, test: SegmentationDataset?,
    options: TrainingOptions, sampling: SampleOptions, loss: SegmentationLoss,
    network: @escaping (Normalization) -> UNet.Options
  ) {
    self.training = training
    self.validation = validation
    self.test = test
    self.options = options
    self.sampling = sampling
    self.loss = loss
    self.network = network
  }

  /// The slices that scores are taken on.
  public var scored: SegmentationDataset { test ?? validation }

  public func validate(_ cell: Grid.Cell) throws {
    let network = network(cell.normalization)
    try SegmentationTask.validate(
      sampling.of(cell.record), loss, network.geometry, training: training)
    try network.validate()
  }

  public func task(_ cell: Grid.Cell, _ generators: CellGenerators) throws -> SegmentationTask {
    let model = try UNet(
      network(cell.normalization), generator: generators.weights, dropoutGenerator: generators.dropout)
    return try SegmentationTask(
      model: model, geometry: model.options.geometry, training: training, validation: validation,
      sampling: sampling.of(cell.record), loss: loss)
  }

  public func score(
    _ trainer: SegmentationTrainer, _ record: inout RunRecord
  ) throws -> SegmentationTask.Evaluation {
    let onValidation = try trainer.evaluate()
    let onScored = try test.map { try trainer.evaluate(on: $0) } ?? onValidation
    record.scores =
      [
        .loss: onScored.loss, .accuracy: onScored.confusion.accuracy,
        .dice: Self.mean(onScored.confusion, of: ConfusionMatrix.dice),
        .iou: Self.mean(onScored.confusion, of: ConfusionMatrix.intersectionOverUnion),
      ].byName
    if training.classes == 2 {
      let chosen = regions(onValidation, validation, SegmentationScores.defaultThresholds).best(.rand)
      let found = regions(onScored, scored, [chosen.threshold])
      record.threshold = Double(chosen.threshold)
      let scores: [ScoreName: Double] = [
        .rand: found.best(.rand).value, .info: found.best(.info).value, .randError: found.best(.randError).value,
        .warpingError: found.best(.warpingError).value,
      ]
      record.scores.merge(scores.byName) { $1 }
    }
    return onScored
  }

  private func regions(
    _ evaluation: SegmentationTask.Evaluation, _ slices: SegmentationDataset, _ thresholds: [Float]
  ) -> SegmentationScores {
    var scores = SegmentationScores(thresholds: thresholds)
    for page in 0..<slices.pages {
      let labels = slices.labels(page: page)
      let ignored = labels.map { $0 == SegmentationDataset.ignoredClass }
      scores.add(
        truth: labels.map { $0 == 1 ? 1 : 0 }, probabilities: evaluation.probabilities[page], height: slices.height,
        width: slices.width, ignored: ignored.contains(true) ? ignored : nil)
    }
    return scores
  }

  private static func mean(_ confusion: ConfusionMatrix, of score: (ConfusionMatrix) -> (Int) -> Double) -> Double {
    (0..<confusion.classes).reduce(0) { $0 + score(confusion)($1) } / Double(confusion.classes)
  }
}

extension UNet.Options {
  /// Which inputs the network takes.
  public var geometry: CropGeometry {
    if margin == 0 { return .multiples(of: extentMultiple, dimensions: dimensions) }
    return CropGeometry(
      dimensions: dimensions, margin: margin, extentsInWords: extentsInWords, outputExtent: outputExtent,
      inputRange: inputRange)
  }
}
