import NormaData
import NormaFormats
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
  /// Where to keep checkpoints; nil keeps none.
  public var checkpoints: Checkpoints?

  /// How trainings can go on after an end in between.
  public struct Checkpoints {
    /// The file of a cell, given its ``RunRecord/fileStem``. A training whose file is there goes on from it.
    public var path: (_ fileStem: String) -> String
    /// The time after which one is written inside an epoch; after every epoch one is written too.
    public var interval: Duration
    /// Asked after every step: true writes one and ends the training by `TrainingInterrupted`.
    public var isInterrupted: () -> Bool
    /// Told of every one that was written, with the seconds that it took.
    public var onWrite: (_ path: String, _ seconds: Double) -> Void

    public init(
      every interval: Duration = .seconds(600), isInterrupted: @escaping () -> Bool = { false },
      onWrite: @escaping (String, Double) -> Void = { _, _ in }, path: @escaping (_ fileStem: String) -> String
    ) {
      self.path = path
      self.interval = interval
      self.isInterrupted = isInterrupted
      self.onWrite = onWrite
    }
  }

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
  ///   - onUpdate: called with the record at the start and after every epoch; the start may be where a checkpoint goes on.
  ///   - onTrained: called with the network of the last epoch, before that of the chosen one takes its place.
  /// - Throws: what the callbacks throw, `TrainingInterrupted`, and what is wrong with a checkpoint that is there.
  public func train(
    _ cell: Grid.Cell, fileStem: String, peakProcessBytes: @escaping () -> Int?,
    onStep: (TrainingProgress) throws -> Void, onUpdate: (RunRecord) throws -> Void,
    onTrained: (UNet) throws -> Void = { _ in }
  ) throws -> Outcome {
    let options = options(cell.record)
    let seed = cell.record.seed
    let generator = try Generator(seed: seed)
    let dropoutGenerator = options.device == .cpu ? generator : try Generator(seed: seed, device: options.device)
    let model = try UNet(network(cell.normalization), generator: generator, dropoutGenerator: dropoutGenerator)
    let trainer = try SegmentationTrainer(
      model: model, extentMultiple: model.options.extentMultiple, training: training, validation: validation,
      options: options, generators: [dropoutGenerator])
    let probe = diagnoses ? try trainer.probe() : nil
    var record = RunRecord(
      cell.record, fileStem: fileStem, totalParameters: model.totalCount, trainableParameters: model.trainableCount)
    if let path = checkpoints?.path(fileStem), Folder.exists(path) {
      record = try goOn(trainer, probe, from: SafetensorsReader(path), record)
    }
    func measure() {
      record.history = trainer.history
      record.stepMilliseconds = trainer.stepMilliseconds
      record.dataWaitMilliseconds = trainer.dataWaitMilliseconds
      record.peakTensorBytes = max(record.peakTensorBytes, TensorMemory.peakBytes)
      record.peakProcessBytes = peakProcessBytes()
    }
    try onUpdate(record)
    var outcome = Outcome(record: record)
    let plan = checkpoints.map { checkpoints in
      CheckpointPlan(every: checkpoints.interval, isInterrupted: checkpoints.isInterrupted) {
        measure()
        let path = checkpoints.path(fileStem)
        let clock = ContinuousClock()
        let elapsed = try clock.measure { try trainer.writeCheckpoint(to: path, notes: Self.notes(record, probe)) }
        checkpoints.onWrite(path, elapsed / .seconds(1))
      }
    }
    do {
      try trainer.run(
        onStep: onStep,
        onEpoch: { epoch in
          measure()
          record.mixes.append(try Self.mixes(model))
          if let probe {
            record.diagnoses.append(try probe.measure(epoch: epoch.epoch, learningRate: epoch.learningRate))
            // What the training alone takes is wanted.
            TensorMemory.resetPeak()
          }
          try onUpdate(record)
        }, checkpoints: plan)
      if let final = trainer.finalEvaluation, final.confusion.constantAccuracy < 1 {
        record.collapsedToClass = final.confusion.constantPrediction
      }
      if trainer.hasStoppedEarly { record.stoppedEarly = true }
      try onTrained(model)
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

  /// The record as a checkpoint keeps it; what the trainer knows too is left out.
  private static func notes(_ record: RunRecord, _ probe: TrainingProbe?) throws -> [String: String] {
    var record = record
    (record.history, record.stepMilliseconds, record.dataWaitMilliseconds) = ([], [], [])
    return [
      "run": try jsonText(of: record, isPretty: false),
      "probe": try jsonText(of: probe?.memory ?? [:], isPretty: false),
    ]
  }

  /// Has the trainer go on from a checkpoint.
  /// - Returns: the record as it was then.
  private func goOn(
    _ trainer: SegmentationTrainer, _ probe: TrainingProbe?, from file: SafetensorsReader, _ fresh: RunRecord
  ) throws -> RunRecord {
    try trainer.restore(from: file)
    guard let text = file.metadata["run"], var record = try? NormaRecords.record(RunRecord.self, fromJSON: text),
      record.cell == fresh.cell, record.mixes.count == trainer.history.count
    else {
      throw TrainingError(
        "'\(file.path)' is no checkpoint of \(fresh.cell.norm) with batch size \(fresh.cell.batchSize), learning rate "
          + "\(fresh.cell.learningRate) and seed \(fresh.cell.seed); remove it to train from the start")
    }
    if let text = file.metadata["probe"] {
      probe?.memory = (try? NormaRecords.record([String: [[Double]]].self, fromJSON: text)) ?? [:]
    }
    record.fileStem = fresh.fileStem
    record.history = trainer.history
    record.stepMilliseconds = trainer.stepMilliseconds
    record.dataWaitMilliseconds = trainer.dataWaitMilliseconds
    return record
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
