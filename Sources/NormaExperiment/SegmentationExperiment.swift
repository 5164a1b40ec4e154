import NormaData
import NormaMetrics
import NormaModels
import NormaNormalization
import NormaRecords
import NormaTensor
import NormaTraining

/// Trains the U-Net in the cells of a grid. Cells of one seed have the same initial weights but for the norm itself, the
/// same samples in the same order with the same augmentation, and the same dropout.
///
/// The epoch with the lowest validation loss is chosen; its network is scored on slices that neither trained it nor chose
/// anything, where there are such.
public struct SegmentationExperiment {
  /// What every cell trains on.
  public let training: SegmentationDataset
  /// Chooses the epoch, and the threshold of the scores of regions.
  public let validation: SegmentationDataset
  /// What scores are taken on; nil takes them on the validation slices.
  public let test: SegmentationDataset?
  /// Of which a cell replaces batch size, learning rate and seed.
  public let options: TrainingOptions
  /// The U-Net for a cell's normalization.
  public let network: (Normalization) -> UNet.Options
  /// Whether to look into the networks after every epoch: ``RunRecord/diagnoses``.
  public var diagnoses = false

  /// Only keeps what is given; ``validate(_:)`` checks it against a grid.
  /// - Parameter test: nil scores on the validation slices.
  public init(
    training: SegmentationDataset, validation: SegmentationDataset, test: SegmentationDataset?,
    options: TrainingOptions, network: @escaping (Normalization) -> UNet.Options
  ) {
    self.training = training
    self.validation = validation
    self.test = test
    self.options = options
    self.network = network
  }

  /// The slices that scores are taken on.
  public var scored: SegmentationDataset { test ?? validation }

  /// What a cell left.
  public struct Outcome {
    /// History and scores; after a failure also the reason, and no scores.
    public var record: RunRecord
    /// The network of the chosen epoch and what it makes of the scored slices; nil after a failure.
    public var best: (model: UNet, evaluation: SegmentationTrainer.Evaluation)?
  }

  /// Checks what can be checked before anything is trained.
  public func validate(_ grid: Grid) throws {
    for cell in grid.cells {
      try SegmentationTrainer.validate(
        options(cell.record), extentMultiple: network(cell.normalization).extentMultiple, training: training)
    }
    for norm in grid.norms { try network(norm).validate() }
  }

  private func options(_ cell: CellRecord) -> TrainingOptions {
    var options = options
    options.loader.batchSize = cell.batchSize
    options.loader.seed = cell.seed
    options.learningRate = cell.learningRate
    options.keepsBest = true
    return options
  }

  /// Trains one cell. A training that cannot go on is a result too: its record says why.
  /// - Parameters:
  ///   - fileStem: see ``RunRecord/fileStem``.
  ///   - peakProcessBytes: the peak of the process's memory in this training; nil where it cannot be told.
  ///   - onStep: called after every step.
  ///   - onUpdate: called with the record at the start and after every epoch.
  /// - Throws: what the callbacks throw.
  public func train(
    _ cell: Grid.Cell, fileStem: String, peakProcessBytes: () -> Int?,
    onStep: (TrainingProgress) throws -> Void, onUpdate: (RunRecord) throws -> Void
  ) throws -> Outcome {
    let options = options(cell.record)
    let seed = cell.record.seed
    let generator = try Generator(seed: seed)
    let model = try UNet(
      network(cell.normalization), generator: generator,
      dropoutGenerator: options.device == .cpu ? generator : try Generator(seed: seed, device: options.device))
    let trainer = try SegmentationTrainer(
      model: model, extentMultiple: model.options.extentMultiple, training: training, validation: validation,
      options: options)
    let probe = diagnoses ? try trainer.probe() : nil
    var record = RunRecord(
      cell.record, fileStem: fileStem, totalParameters: model.totalCount, trainableParameters: model.trainableCount)
    func measure() {
      record.history = trainer.history
      record.stepMilliseconds = trainer.stepMilliseconds
      record.dataWaitMilliseconds = trainer.dataWaitMilliseconds
      record.peakTensorBytes = max(record.peakTensorBytes, TensorMemory.peakBytes)
      record.peakProcessBytes = peakProcessBytes()
    }
    try onUpdate(record)
    var outcome = Outcome(record: record)
    do {
      try trainer.run(onStep: onStep) { epoch in
        measure()
        record.mixes.append(try Self.mixes(model))
        if let probe {
          record.diagnoses.append(try probe.measure(epoch: epoch.epoch, learningRate: epoch.learningRate))
          // What the training alone takes is wanted.
          TensorMemory.resetPeak()
        }
        try onUpdate(record)
      }
      if let final = trainer.finalEvaluation, final.confusion.constantAccuracy < 1 {
        record.collapsedToClass = final.confusion.constantPrediction
      }
      try trainer.restoreBest()
      let evaluation = try score(trainer, &record)
      outcome.best = (model, evaluation)
    } catch let error as TrainingError {
      record.failure = "\(error)"
    } catch let error as TensorError {
      record.failure = "\(error)"
    } catch let error as NormalizationError {
      record.failure = "\(error)"
    }
    measure()
    record.isFinished = true
    outcome.record = record
    return outcome
  }

  /// - Returns: what the chosen network makes of the scored slices.
  private func score(
    _ trainer: SegmentationTrainer, _ record: inout RunRecord
  ) throws -> SegmentationTrainer.Evaluation {
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
    _ evaluation: SegmentationTrainer.Evaluation, _ slices: SegmentationDataset, _ thresholds: [Float]
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

  private static func mixes(_ model: UNet) throws -> [MixRecord] {
    try model.namedModules().compactMap { key, module in
      guard let norm = module as? SwitchableNorm else { return nil }
      let shares = try norm.namedShares()
      return MixRecord(
        layer: key, branches: shares.map(\.branch), mean: shares.map(\.mean), variance: shares.map(\.variance))
    }
  }
}

extension [ScoreName: Double] {
  fileprivate var byName: [String: Double] {
    [String: Double](uniqueKeysWithValues: map { ($0.key.rawValue, $0.value) })
  }
}
