import NormaDistributed
import NormaFormats
import NormaModels
import NormaNN
import NormaNormalization
import NormaRecords
import NormaTensor
import NormaTraining

/// What the trainings of a grid have in common: data, network, task, and how the chosen network is scored.
public protocol Workload {
  associatedtype Task: TrainingTask

  /// Of which a cell replaces the learning rate.
  var options: TrainingOptions { get }

  /// Checks what can be checked before anything is trained.
  func validate(_ cell: Grid.Cell) throws

  /// A fresh network with what trains it. Cells of one seed have the same initial weights but for the norm itself, and the same
  /// samples in the same order with the same augmentation.
  func task(_ cell: Grid.Cell, _ generators: CellGenerators) throws -> Task

  /// Scores the network of the chosen epoch, on samples that neither trained it nor chose anything where there are such, and
  /// puts the scores into the record.
  /// - Returns: what the network makes of the scored samples.
  func score(_ trainer: Trainer<Task>, _ record: inout RunRecord) throws -> Task.Evaluation
}

/// What draws the random numbers of a cell: weights on the CPU, dropout on the device.
public struct CellGenerators {
  public let weights: Generator
  public let dropout: Generator

  public init(seed: UInt64, device: Device) throws {
    weights = try Generator(seed: seed)
    dropout = device == .cpu ? weights : try Generator(seed: seed, device: device)
  }
}

/// Trains the cells of a grid. The epoch with the lowest validation loss is chosen and its network scored.
public struct Experiment<Work: Workload> {
  public let workload: Work
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

  public init(_ workload: Work) { self.workload = workload }

  /// What a cell left.
  public struct Outcome {
    /// History and scores; after a failure also the reason, and no scores.
    public var record: RunRecord
    /// The network of the chosen epoch and what it makes of the scored samples; nil after a failure.
    public var best: (model: Module, evaluation: Work.Task.Evaluation)?
  }

  /// Checks what can be checked before anything is trained.
  public func validate(_ grid: Grid) throws {
    for cell in grid.cells {
      try options(cell).validate()
      try workload.validate(cell)
    }
  }

  private func options(_ cell: Grid.Cell) -> TrainingOptions {
    var options = workload.options
    options.learningRate = cell.record.learningRate
    if let choice = cell.optimizer { (options.optimizer, options.momentum) = (choice.kind, choice.momentum) }
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
    onTrained: (Module) throws -> Void = { _ in }
  ) throws -> Outcome {
    let options = options(cell)
    let generators = try CellGenerators(seed: cell.record.seed, device: options.device)
    let task = try workload.task(cell, generators)
    let model = task.model
    let trainer = try Trainer(task: task, options: options, generators: [generators.dropout])
    let probe = diagnoses ? try trainer.probe() : nil
    var record = RunRecord(
      cell.record, fileStem: fileStem, totalParameters: model.totalCount, trainableParameters: model.trainableCount)
    // Of several workers rank 0 alone reads and writes.
    let group = ProcessGroup.current
    let leads = ProcessGroup.leads
    var goesOn = false
    if leads, let path = checkpoints?.path(fileStem), Folder.exists(path) {
      record = try goOn(trainer, probe, from: SafetensorsReader(path), record)
      goesOn = true
    }
    if let group, try group.sum([goesOn ? 1 : 0])[0] > 0 { try trainer.shareRestored() }
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
        if leads { checkpoints.onWrite(path, elapsed / .seconds(1)) }
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
      record.collapsedToClass = trainer.finalEvaluation?.collapsedToClass
      if trainer.hasStoppedEarly { record.stoppedEarly = true }
      try onTrained(model)
      try trainer.restoreBest()
      let evaluation = try workload.score(trainer, &record)
      outcome.best = (model, evaluation)
    } catch let error where Self.isOfTraining(error) {
      // What is wrong with a loss all workers see alike; other things perhaps one alone, without which the others cannot go on.
      if let group, !(error is TrainingError), !group.allFail(with: "\(error)") { throw error }
      record.failure = "\(error)"
    }
    measure()
    record.isFinished = true
    outcome.record = record
    return outcome
  }

  /// Whether an error is a result of a training, and not of what is around it.
  private static func isOfTraining(_ error: any Error) -> Bool {
    error is TrainingError || error is TensorError || error is NormalizationError || error is NetworkError
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
    _ trainer: Trainer<Work.Task>, _ probe: TrainingProbe?, from file: SafetensorsReader, _ fresh: RunRecord
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

  private static func mixes(_ model: Module) throws -> [MixRecord] {
    try model.namedModules().compactMap { key, module in
      guard let norm = module as? SwitchableNorm else { return nil }
      let shares = try norm.namedShares()
      return MixRecord(
        layer: key, branches: shares.map(\.branch), mean: shares.map(\.mean), variance: shares.map(\.variance))
    }
  }
}
