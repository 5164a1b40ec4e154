#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif
#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

import ArgumentParser
import NormaDistributed
import NormaExperiment
import NormaFormats
import NormaNN
import NormaNormalization
import NormaRecords
import NormaReport
import NormaTensor
import NormaTraining

/// A comparison as the command line runs it: data, folder, progress and records around the trainings.
struct Comparison {
  let command: String
  var model = ModelName.unet
  let norms: [Normalization]
  var seeds = 1
  /// Instead of those of `training`.
  var optimizers: [OptimizerChoice]?
  var batchSizes: [Int]?
  var learningRates: [Double]?
  /// What norms are compared by; nil takes the network's own.
  var score: ScoreName?
  let data: DataOptions
  let network: NetworkOptions
  let training: TrainingCommandOptions
  let output: OutputOptions
  let resume: ResumeOptions
  /// Nil for a process that has the folder for itself.
  var sharing: Sharing?

  func run() throws {
    if resume.resume != nil, output.overwrite {
      throw ValidationError("--resume keeps what --overwrite would replace: give one of them.")
    }
    if let resumed = resume.resume, let given = output.output, given != resumed {
      throw ValidationError("--resume '\(resumed)' writes into that folder: leave out --output.")
    }
    try model.check(given: data.given + network.given + training.given)
    let turns = WorkerTurns()
    if turns != nil, sharing != nil {
      throw ValidationError(
        "--share has processes that train each by itself, but this one is a worker of several (by --workers, torchrun or RANK): leave out one of them."
      )
    }
    let resumed = ProcessGroup.leads ? try resume.folder(output) : nil
    let earlier = try WorkerTurns.told {
      try resumed.map { try OutputFolder.record(in: $0) }
    }
    try Runtime.check()
    let instructions = try InstructionSet.current.get()
    // Before the first tensor, so that all are counted.
    TensorMemory.install(training.allocator.choice)
    let device = try training.resolvedDevice()
    if let threads = training.threads { Runtime.threads = threads }
    let setting = Setting(
      options: try training.options(defaults: model.defaults),
      batchSize: training.batchSize ?? model.defaults.batchSize, isRepeated: seeds > 1, earlier: earlier)
    let session = Session(
      started: Date(), device: device, instructions: "\(instructions)", setting: setting, resumed: resumed, turns: turns
    )
    switch model {
    case .unet: try run(unet(setting), session)
    case .alexnet: try run(alexnet(setting), session)
    case .meanSpot: try run(meanSpot(setting), session)
    case .mnistDense: try run(mnistDense(setting), session)
    case .mnistLSTM: try run(mnistLSTM(setting), session)
    case .style: try run(style(setting), session)
    }
  }

  /// What a network's own file makes its workload from, beside the options.
  struct Setting {
    let options: TrainingOptions
    let batchSize: Int
    /// Whether there are several seeds.
    let isRepeated: Bool
    /// The record of the run that goes on.
    let earlier: ComparisonRecord?
  }

  private struct Session {
    let started: Date
    let device: Device
    let instructions: String
    let setting: Setting
    /// The folder of the run that goes on.
    let resumed: String?
    let turns: WorkerTurns?
  }

  private func run<Work: Workload>(_ prepared: Prepared<Work>, _ session: Session) throws {
    let (started, device, turns) = (session.started, session.device, session.turns)
    let options = prepared.work.options
    var experiment = Experiment(prepared.work)
    experiment.diagnoses = training.diagnose
    let grid = Grid(
      norms: norms, variants: network.attentions.map(\.rawValue), optimizers: optimizers ?? [nil],
      batchSizes: batchSizes ?? [session.setting.batchSize],
      learningRates: learningRates ?? [options.learningRate],
      seeds: (0..<UInt64(seeds)).map { training.seed &+ $0 })
    // Everything that can be wrong is found before anything is written or trained.
    try experiment.validate(grid)
    let score = score ?? prepared.scores[0]
    guard prepared.scores.contains(score) else {
      throw ToolError(
        "--score \(score.rawValue) is not among those of --model \(model.rawValue) on these data; choose "
          + prepared.scores.map(\.rawValue).joined(separator: ", "))
    }

    let configuration = configuration(options, grid).merging(prepared.configuration) { $1 }
    if let turns {
      try turns.checkThatRanksAgree(
        configuration.merging([
          "version of norma": Norma.version, "version of libtorch": Runtime.version,
          "data": "\(prepared.data.digest ?? prepared.data.name)",
        ]) { $1 }, besides: ["threads"] + Self.pathOptions)
      if !ProcessGroup.leads {
        experiment.checkpoints = .init(
          every: .seconds(1 << 30), isInterrupted: { Interruption.signal != nil }, path: { $0 })
        Interruption.watch(isTelling: false)
        return try turns.follow(experiment, grid)
      }
    }
    let folder = try OutputFolder(
      output, command: command, started: started, resuming: session.resumed, isShared: sharing != nil)
    let environment = environment(device)
    var record = ComparisonRecord(
      started: started.formatted(.iso8601), environment: environment, configuration: configuration, data: prepared.data,
      score: score)
    // Ends what waits for other processes too.
    Interruption.watch()
    var begunIn = folder.earlier?.environment
    let shared = try sharing.map { try SharedGrid(folder, $0, started: record.started) }
    if let shared {
      record = try shared.begin(
        record, grid.cells.map(\.record), command: command, isResuming: session.resumed != nil
      ) { [record] earlier, isJoining in
        var whole = try goingOn(record, earlier, grid, in: folder.path, isJoining: isJoining)
        whole.environment = earlier.environment
        return whole
      }
      begunIn = record.environment
    } else {
      if let earlier = folder.earlier {
        record = try goingOn(record, earlier, grid, in: folder.path)
        for index in record.runs.indices
        where record.runs[index].environment == nil && earlier.environment != environment {
          record.runs[index].environment = earlier.environment
        }
      }
      try folder.write(record)
      try folder.writeConfiguration(record, command: command)
      SharedGrid.remove(in: folder.path)
    }
    let done = Set(record.runs.filter(\.isDone).map(\.cell))
    // One that was killed right after it had finished a training left the checkpoint.
    for run in record.runs where done.contains(run.cell) { folder.removeCheckpoint(run.fileStem) }
    let cells = grid.cells.filter { !done.contains($0.record) }
    let progress = Progress(runs: cells.count, epochs: options.epochs, isShared: sharing != nil)
    log.info("\(prepared.data.name) → \(folder.path)")
    log.debug(
      "\(Processor.name), \(session.instructions) kernels, \(Runtime.threads) threads, libtorch \(Runtime.version), \(device)"
    )
    experiment.checkpoints = .init(
      every: .milliseconds(Int64(min(resume.checkpointMinutes, 1e9) * 60_000)),
      isInterrupted: { Interruption.signal != nil },
      onWrite: { log.debug("checkpoint '\($0)' in \(fixed($1, 2)) s") }, path: folder.checkpoint)
    if let begunIn, begunIn != environment {
      log.warning(
        """
        the run was begun on another machine, version or number of threads or workers: its times cannot be compared with the new ones, and \
        results may differ in their last digits
        """)
    }
    if !done.isEmpty { log.info("\(done.count) finished trainings are kept, \(cells.count) are to do") }
    func interrupt(_ record: ComparisonRecord) throws -> Never {
      try folder.writeReport(record)
      try report(record, folder)
      log.warning(
        "interrupted; go on with: norma \(command) --resume \(shellWord(folder.path))\(sharing == nil ? "" : " --share")"
      )
      // Another worker may have been the one that was told.
      throw ExitCode(128 + (Interruption.signal ?? SIGTERM))
    }
    func train(
      _ cell: Grid.Cell, index: Int, _ record: inout ComparisonRecord,
      _ turn: (grid: SharedGrid, claim: WorkClaim)? = nil
    ) throws {
      let title = parts(cell, record).joined(separator: " ")
      progress.begin(title, index: index)
      // Overlays of one seed show what there is to see.
      do {
        try self.train(
          cell, experiment, prepared, progress, folder, &record, environment, turn,
          pictures: cell.record.seed == grid.seeds[0])
      } catch is TrainingInterrupted {
        if let turn {
          turn.claim.release()
          record = try turn.grid.publish(withReport: true)
        }
        try interrupt(record)
      }
      if let failure = record.runs.first(where: { $0.cell == cell.record })?.failure {
        log.warning("\(title): \(failure)")
      }
    }
    if let shared {
      let (whole, others) = try shared.work(grid.cells, interrupt: interrupt) { cell, claim, left, record in
        try train(cell, index: cells.count - left, &record, (shared, claim))
      }
      try report(whole, folder)
      if !others.isEmpty {
        log.info("still under way elsewhere: \(others.joined(separator: "; "))")
        return
      }
      record = whole
    } else {
      for (index, cell) in cells.enumerated() {
        if Interruption.signal != nil {
          try turns?.tell(nil)
          try interrupt(record)
        }
        try train(cell, index: index, &record)
      }
      try turns?.tell(nil)
      // Where nothing was left to do, none is written yet.
      if cells.isEmpty { try folder.writeReport(record) }
      try report(record, folder)
    }
    if grid.contenders.contains(where: { name in record.runs.allSatisfy { $0.norm != name || $0.failure != nil } }) {
      throw ExitCode.failure
    }
  }

  private func report(_ record: ComparisonRecord, _ folder: OutputFolder) throws {
    print(output.json ? try ResultsFile.text(record) : ComparisonTable.text(record) + "\n\nResults: \(folder.path)")
  }

  /// Trains one cell and writes all it leaves; `record` is kept up to date on disk after every epoch.
  /// - Parameter turn: what other processes are told by, and may take the cell over by: then `WorkClaim.Lost` is thrown.
  private func train<Work: Workload>(
    _ cell: Grid.Cell, _ experiment: Experiment<Work>, _ prepared: Prepared<Work>, _ progress: Progress,
    _ folder: OutputFolder, _ record: inout ComparisonRecord, _ environment: EnvironmentRecord,
    _ turn: (grid: SharedGrid, claim: WorkClaim)?, pictures: Bool
  ) throws {
    TensorMemory.returnUnused()
    TensorMemory.resetPeak()
    // A peak that cannot be reset is of earlier runs too, and not told.
    let hasOwnPeak = ProcessMemory.resetPeak()
    let earlier = record.runs.first { $0.cell == cell.record }
    func update(_ run: RunRecord) throws {
      try turn?.claim.check()
      try folder.writeHistory(run)
      var run = run
      run.environment = environment == record.environment ? nil : environment
      if let turn {
        try turn.grid.keep(run, &record)
      } else {
        record.put(run)
        if run.isFinished { record.analysis = record.analyzed() }
        try folder.write(record)
        if run.isFinished { try folder.writeReport(record) }
      }
    }
    let stem = earlier?.fileStem ?? fileName(parts(cell, record).joined(separator: "-"))
    let board = try folder.tensorBoard(stem)
    // One that another run has left is not this one's, whose record is written before the first checkpoint.
    if earlier == nil { folder.removeCheckpoint(stem) }
    var (shown, isFirst) = (0, true)
    try WorkerTurns()?.tell(cell.record, fileStem: stem)
    let outcome = try experiment.train(
      cell, fileStem: stem, peakProcessBytes: { hasOwnPeak ? ProcessMemory.peakResidentBytes : nil },
      onStep: {
        try turn?.claim.check()
        progress.step($0)
      },
      onUpdate: { run in
        try turn?.claim.check()
        for (epoch, mixes) in zip(run.history, run.mixes).dropFirst(shown) {
          // Those of a checkpoint have been told before.
          if !isFirst { progress.epoch(epoch) }
          try board.write(epoch)
          try board.write(mixes, epoch: epoch.epoch)
        }
        if isFirst, run.history.count + run.stepMilliseconds.count > 0 {
          log.info(
            "going on from the checkpoint, \(run.history.count) epochs and \(run.stepMilliseconds.count) steps are done"
          )
        }
        (shown, isFirst) = (run.history.count, false)
        try update(run)
      },
      onTrained: { model in
        if command == "train" {
          try folder.writeWeights(model, fileStem: stem, isLast: true, metadata: metadata(model, prepared))
        }
      })
    try turn?.claim.check()
    if let (model, evaluation) = outcome.best {
      try prepared.write(
        evaluation,
        PredictionFiles(
          folder: folder.path, stem: stem, board: pictures ? board : nil, epoch: outcome.record.bestEpoch?.epoch ?? 0))
      try folder.writeWeights(model, fileStem: stem, metadata: metadata(model, prepared))
    }
    try board.close()
    // Finished only now that its files are there.
    try update(outcome.record)
    // Other failures than of the training itself may be mended.
    if outcome.record.isDone { folder.removeCheckpoint(stem) }
  }

  /// The norm, and what else tells the cell from others. A grid that becomes wider adds parts: names with and without one differ.
  private func parts(_ cell: Grid.Cell, _ record: ComparisonRecord) -> [String] {
    func varies(_ name: String) -> Bool { record.configuration[name]?.contains(",") == true }
    var parts = [cell.record.norm]
    if varies("batch-size") { parts.append("batch\(cell.record.batchSize)") }
    if varies("learning-rate") { parts.append("rate\(cell.record.learningRate)") }
    if record.configuration["seeds"] != "1" { parts.append("seed\(cell.record.seed)") }
    return parts
  }

  /// Where files lie that the data's digest tells apart.
  private static let pathOptions = [
    "images", "labels", "content", "styles", "features", "flow-u", "flow-v", "strain", "scores",
  ]

  /// The record of a run that goes on.
  /// - Parameter isJoining: whether the grids must be equal, as others work off the earlier one.
  private func goingOn(
    _ record: ComparisonRecord, _ earlier: ComparisonRecord, _ grid: Grid, in folder: String, isJoining: Bool = false
  ) throws -> ComparisonRecord {
    try checkThatItGoesOn(record, earlier, grid, in: folder, isJoining: isJoining)
    var whole = record
    (whole.started, whole.runs) = (earlier.started, earlier.runs)
    whole.configuration = ComparisonRecord.configuration(
      of: [earlier, record], seeds: earlier.runs.map(\.cell.seed) + grid.seeds)
    whole.configuration["workers"] = record.configuration["workers"]
    whole.analysis = whole.analyzed()
    return whole
  }

  /// - Throws: unless the records differ in what a wider grid may differ in alone.
  private func checkThatItGoesOn(
    _ record: ComparisonRecord, _ earlier: ComparisonRecord, _ grid: Grid, in folder: String, isJoining: Bool
  ) throws {
    // The data are told apart by their digest, wherever they lie; threads change rounding and times, which is warned of.
    // With another number of workers a training goes on with other batches; trainings that are compared have the same.
    let free =
      (command == "train" ? ["threads", "workers"] : ["threads"]) + (earlier.data.digest == nil ? [] : Self.pathOptions)
    let different = record.differentOptions(
      from: earlier, besides: isJoining ? [] : ComparisonRecord.gridOptions
    ).filter { !free.contains($0.name) }
    guard different.isEmpty else {
      let list = different.map { "--\($0.name) \($0.there ?? "not given") there, \($0.here ?? "not given") now" }
      throw ToolError(
        "the run in '\(folder)' cannot go on with other options (\(list.joined(separator: "; "))); give the same ones or "
          + (isJoining ? "another --output; --resume in the place of --output may widen the grid" : "another --output"))
    }
    guard record.score == earlier.score else {
      throw ToolError(
        "the run in '\(folder)' is scored by \(earlier.score.rawValue), not \(record.score.rawValue): what norms are compared by "
          + "is not to be chosen after the results; give the same --score or another --output")
    }
    var data = earlier.data
    if data.digest == nil { data.digest = record.data.digest } else { data.name = record.data.name }
    guard record.data == data else {
      throw ToolError("the images or labels are not those of the run in '\(folder)'; choose another --output")
    }
    let seeds = Set(earlier.runs.map(\.cell.seed) + grid.seeds).sorted()
    guard zip(seeds, seeds.dropFirst()).allSatisfy({ $0 &+ 1 == $1 }) else {
      throw ToolError(
        "the run in '\(folder)' and this one have the seeds \(seeds.map(String.init).joined(separator: ", ")) together; they have "
          + "to follow each other")
    }
    if command == "train", let other = earlier.runs.first(where: { $0.norm != grid.contenders[0] }) {
      throw ToolError(
        "the run in '\(folder)' trains \(other.norm), not \(grid.contenders[0]); go on with it by norma compare --resume to add norms, "
          + "or choose another --output")
    }
  }

  private func metadata<Work: Workload>(_ model: Module, _ prepared: Prepared<Work>) -> [String: String] {
    prepared.metadata(model).merging(["norma": Norma.version]) { $1 }
  }

  private func environment(_ device: Device) -> EnvironmentRecord {
    EnvironmentRecord(
      norma: Norma.version, libtorch: Runtime.version, processor: Processor.name, threads: Runtime.threads,
      device: device.description, workers: ProcessGroup.current?.size)
  }

  /// The options that all networks have, by their names on the command line.
  private func configuration(_ options: TrainingOptions, _ grid: Grid) -> [String: String] {
    func list(_ values: [some LosslessStringConvertible]) -> String { values.map(\.description).joined(separator: ",") }
    var all = [
      "model": model.rawValue, "norms": norms.map(\.name).joined(separator: ","), "seeds": "\(grid.seeds.count)",
      "epochs": "\(options.epochs)", "batch-size": list(grid.batchSizes), "seed": "\(training.seed)",
      "learning-rate": list(grid.learningRates),
      "weight-decay": "\(training.weightDecay)", "schedule": options.schedule.name,
      "dtype": training.dtype.rawValue, "device": training.device, "threads": "\(Runtime.threads)",
      "allocator": training.allocator.rawValue, "memory": training.memory.rawValue,
      "diagnose": "\(training.diagnose)",
    ]
    if let group = ProcessGroup.current { all["workers"] = "\(group.size)" }
    if options.accumulatedBatches > 1 { all["accumulate"] = "\(options.accumulatedBatches)" }
    if let patience = options.earlyStopping { all["early-stopping"] = "\(patience)" }
    if let decay = options.averageDecay { all["ema"] = "\(decay)" }
    if let optimizers {
      all["optimizers"] = optimizers.map(\.name).joined(separator: ",")
    } else {
      all["optimizer"] = options.optimizer.rawValue
      if let momentum = options.momentum { all["momentum"] = "\(momentum)" }
    }
    return all
  }
}
