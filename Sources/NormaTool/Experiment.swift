#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

import ArgumentParser
import NormaData
import NormaExperiment
import NormaFormats
import NormaModels
import NormaNormalization
import NormaRecords
import NormaReport
import NormaTensor
import NormaTraining

/// A comparison as the command line runs it: data, folder, progress and records around the trainings.
struct Experiment {
  let command: String
  let norms: [Normalization]
  var seeds = 1
  /// Instead of those of `training`.
  var batchSizes: [Int]?
  var learningRates: [Double]?
  var score = ScoreName.iou
  let data: DataOptions
  let network: NetworkOptions
  let training: TrainingCommandOptions
  let output: OutputOptions
  let resume: ResumeOptions

  func run() throws {
    if resume.resume != nil, output.overwrite {
      throw ValidationError("--resume keeps what --overwrite would replace: give one of them.")
    }
    if let resumed = resume.resume, let given = output.output, given != resumed {
      throw ValidationError("--resume '\(resumed)' writes into that folder: leave out --output.")
    }
    guard network.padding == .same, network.dimensions == 2 else {
      throw ValidationError("Training takes networks with --padding same and --dimensions 2 so far.")
    }
    let earlier = try resume.resume.map { try ResultsFile.read("\($0)/results.json") }
    try Runtime.check()
    let instructions = try InstructionSet.current.get()
    // Before the first tensor, so that all are counted.
    TensorMemory.install(training.allocator.choice)
    let started = Date()
    let device = try training.resolvedDevice()
    if let threads = training.threads { Runtime.threads = threads }
    let loaded = try data.load(
      crop: training.crop, isRepeated: seeds > 1,
      earlierTestSlices: earlier?.data.testSlices)
    let options = try training.options(training: loaded.training)
    var experiment = SegmentationExperiment(
      training: loaded.training, validation: loaded.validation, test: loaded.test, options: options
    ) { [network] in
      network.options($0, inputChannels: loaded.training.channels, classes: loaded.training.classes)
    }
    experiment.diagnoses = training.diagnose
    let grid = Grid(
      norms: norms, batchSizes: batchSizes ?? [training.batchSize],
      learningRates: learningRates ?? [options.learningRate],
      seeds: (0..<UInt64(seeds)).map { training.seed &+ $0 })
    // Everything that can be wrong is found before anything is written or trained.
    try experiment.validate(grid)
    if [.rand, .info, .randError, .warpingError].contains(score), loaded.training.classes != 2 {
      throw ToolError(
        "--score \(score.rawValue) is for two classes, the labels have \(loaded.training.classes); choose iou, dice, "
          + "accuracy or loss")
    }

    let folder = try OutputFolder(output, command: command, started: started, resuming: resume.resume, earlier)
    var record = ComparisonRecord(
      started: started.formatted(.iso8601), environment: environment(device),
      configuration: configuration(options, grid, testSlices: loaded.test?.pages ?? 0),
      data: describe(loaded, experiment.scored), score: score)
    if let earlier = folder.earlier {
      try checkThatItGoesOn(record, earlier, seeds: grid.seeds, in: folder.path)
      record.started = earlier.started
      record.runs = earlier.runs
      record.analysis = record.analyzed()
      record.configuration = ComparisonRecord.configuration(
        of: [earlier, record], seeds: earlier.runs.map(\.cell.seed) + grid.seeds)
    }
    try folder.write(record)
    try folder.writeConfiguration(record, command: command)
    // A training that diverged would do so again; other failures may be mended.
    let done = Set(record.runs.filter { $0.isFinished && ($0.failure == nil || $0.hasDiverged) }.map(\.cell))
    // One that was killed right after it had finished a training left the checkpoint.
    for run in record.runs where done.contains(run.cell) { folder.removeCheckpoint(run.fileStem) }
    let cells = grid.cells.filter { !done.contains($0.record) }
    let progress = Progress(runs: cells.count, epochs: options.epochs)
    log.info("\(loaded.name) → \(folder.path)")
    log.debug(
      "\(Processor.name), \(instructions) kernels, \(Runtime.threads) threads, libtorch \(Runtime.version), \(device)")
    experiment.checkpoints = .init(
      every: .milliseconds(Int64(min(resume.checkpointMinutes, 1e9) * 60_000)),
      isInterrupted: { Interruption.signal != nil },
      onWrite: { log.debug("checkpoint '\($0)' in \(fixed($1, 2)) s") }, path: folder.checkpoint)
    Interruption.watch()
    if let earlier = folder.earlier, earlier.environment != record.environment {
      log.warning(
        """
        the run was begun on another machine, version or number of threads: its times cannot be compared with the new ones, and \
        results may differ in their last digits
        """)
    }
    if !done.isEmpty { log.info("\(done.count) finished trainings are kept, \(cells.count) are to do") }
    func interrupt() throws -> Never {
      try folder.writeReport(record)
      try report(record, folder)
      log.warning("interrupted; go on with: norma \(command) --resume \(shellWord(folder.path))")
      throw ExitCode(128 + (Interruption.signal ?? 0))
    }
    for (index, cell) in cells.enumerated() {
      if Interruption.signal != nil { try interrupt() }
      let title = parts(cell, record).joined(separator: " ")
      progress.begin(title, index: index)
      // Overlays of one seed show what there is to see.
      do {
        try train(
          cell, experiment, grid, progress, folder, &record, overlays: cell.record.seed == grid.seeds[0])
      } catch is TrainingInterrupted {
        try interrupt()
      }
      if let failure = record.runs.first(where: { $0.cell == cell.record })?.failure {
        log.warning("\(title): \(failure)")
      }
    }
    // Where nothing was left to do, none is written yet.
    if cells.isEmpty { try folder.writeReport(record) }
    try report(record, folder)
    if norms.contains(where: { norm in record.runs.allSatisfy { $0.norm != norm.name || $0.failure != nil } }) {
      throw ExitCode.failure
    }
  }

  private func report(_ record: ComparisonRecord, _ folder: OutputFolder) throws {
    print(output.json ? try ResultsFile.text(record) : ComparisonTable.text(record) + "\n\nResults: \(folder.path)")
  }

  /// Trains one cell and writes all it leaves; `record` is kept up to date on disk after every epoch.
  private func train(
    _ cell: Grid.Cell, _ experiment: SegmentationExperiment, _ grid: Grid, _ progress: Progress,
    _ folder: OutputFolder, _ record: inout ComparisonRecord, overlays: Bool
  ) throws {
    TensorMemory.returnUnused()
    TensorMemory.resetPeak()
    // A peak that cannot be reset is of earlier runs too, and not told.
    let hasOwnPeak = ProcessMemory.resetPeak()
    let earlier = record.runs.firstIndex { $0.cell == cell.record }
    let place = earlier ?? record.runs.count
    func update(_ run: RunRecord) throws {
      if place < record.runs.count { record.runs[place] = run } else { record.runs.append(run) }
      try folder.writeHistory(run)
      try folder.write(record)
    }
    let stem = earlier.map { record.runs[$0].fileStem } ?? fileName(parts(cell, record).joined(separator: "-"))
    let board = try folder.tensorBoard(stem)
    // One that another run has left is not this one's.
    if folder.earlier == nil { folder.removeCheckpoint(stem) }
    var (shown, isFirst) = (0, true)
    let outcome = try experiment.train(
      cell, fileStem: stem, peakProcessBytes: { hasOwnPeak ? ProcessMemory.peakResidentBytes : nil },
      onStep: { progress.step($0) },
      onUpdate: { run in
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
          try folder.writeWeights(model, fileStem: stem, isLast: true, metadata: metadata(model, experiment.training))
        }
      })
    if let (model, evaluation) = outcome.best {
      try folder.writePredictions(
        evaluation, of: experiment.scored, fileStem: stem, overlays: overlays ? board : nil,
        epoch: outcome.record.bestEpoch?.epoch ?? 0)
      try folder.writeWeights(model, fileStem: stem, metadata: metadata(model, experiment.training))
    }
    try board.close()
    // Finished only now that its files are there.
    record.runs[place] = outcome.record
    record.analysis = record.analyzed()
    try update(outcome.record)
    try folder.writeReport(record)
    // Other failures than of the training itself may be mended.
    if outcome.record.failure == nil || outcome.record.hasDiverged { folder.removeCheckpoint(stem) }
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

  /// - Throws: unless the records differ in what a wider grid may differ in alone.
  private func checkThatItGoesOn(
    _ record: ComparisonRecord, _ earlier: ComparisonRecord, seeds: [UInt64], in folder: String
  ) throws {
    // The data are told apart by their digest, wherever they lie; threads change rounding and times, which is warned of.
    let free = earlier.data.digest == nil ? ["threads"] : ["threads", "images", "labels"]
    let different = record.differentOptions(from: earlier).filter { !free.contains($0.name) }
    guard different.isEmpty else {
      let list = different.map { "--\($0.name) \($0.there ?? "not given") there, \($0.here ?? "not given") now" }
      throw ToolError(
        "the run in '\(folder)' cannot go on with other options (\(list.joined(separator: "; "))); give the same ones or "
          + "another --output")
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
    let seeds = Set(earlier.runs.map(\.cell.seed) + seeds).sorted()
    guard zip(seeds, seeds.dropFirst()).allSatisfy({ $0 &+ 1 == $1 }) else {
      throw ToolError(
        "the run in '\(folder)' and this one have the seeds \(seeds.map(String.init).joined(separator: ", ")) together; they have "
          + "to follow each other")
    }
    if command == "train", let other = earlier.runs.first(where: { $0.norm != norms[0].name }) {
      throw ToolError(
        "the run in '\(folder)' trains \(other.norm), not \(norms[0].name); go on with it by norma compare --resume to add norms, "
          + "or choose another --output")
    }
  }

  private func metadata(_ model: UNet, _ data: SegmentationDataset) -> [String: String] {
    model.options.metadata.merging(data.metadata) { $1 }.merging(["norma": Norma.version]) { $1 }
  }

  private func describe(_ loaded: DataOptions.Loaded, _ scored: SegmentationDataset) -> DataRecord {
    DataRecord(
      name: loaded.name, isSynthetic: loaded.isSynthetic, trainingSlices: loaded.training.pages,
      validationSlices: loaded.validation.pages, testSlices: loaded.test?.pages ?? 0, height: loaded.training.height,
      width: loaded.training.width, channels: loaded.training.channels, classes: loaded.training.classes,
      constantAccuracy: scored.classFrequencies.max() ?? 0,
      digest: ([loaded.training, loaded.validation] + (loaded.test.map { [$0] } ?? [])).map(\.digest).joined(
        separator: "-"))
  }

  private func environment(_ device: Device) -> EnvironmentRecord {
    EnvironmentRecord(
      norma: Norma.version, libtorch: Runtime.version, processor: Processor.name, threads: Runtime.threads,
      device: device.description)
  }

  /// The options by their names on the command line.
  private func configuration(_ options: TrainingOptions, _ grid: Grid, testSlices: Int) -> [String: String] {
    func list(_ values: [some LosslessStringConvertible]) -> String { values.map(\.description).joined(separator: ",") }
    var all = [
      "norms": norms.map(\.name).joined(separator: ","), "val-slices": "\(data.valSlices)",
      "test-slices": "\(testSlices)", "seeds": "\(grid.seeds.count)",
      "epochs": "\(training.epochs)", "samples-per-epoch": "\(training.samplesPerEpoch)",
      "batch-size": list(grid.batchSizes), "crop": "\(training.crop)", "seed": "\(training.seed)",
      "augment": training.augment.rawValue, "loss": training.loss.rawValue,
      "class-weights": training.classWeights.description, "border-weights": "\(training.borderWeights)",
      "optimizer": training.optimizer.rawValue, "learning-rate": list(grid.learningRates),
      "weight-decay": "\(training.weightDecay)", "schedule": options.schedule.name,
      "dtype": training.dtype.rawValue, "device": training.device, "threads": "\(Runtime.threads)",
      "allocator": training.allocator.rawValue, "memory": training.memory.rawValue,
      "diagnose": "\(training.diagnose)",
    ]
    all.merge(network.recorded) { $1 }
    if let patience = options.earlyStopping { all["early-stopping"] = "\(patience)" }
    if let decay = options.averageDecay { all["ema"] = "\(decay)" }
    if let momentum = options.momentum { all["momentum"] = "\(momentum)" }
    if let ignore = data.ignoreLabel { all["ignore-label"] = "\(ignore)" }
    if let images = data.images, let labels = data.labels {
      all["images"] = images
      all["labels"] = labels
    } else {
      all["synthetic-size"] = "\(data.sizeOfSynthetic(crop: training.crop))"
      all["synthetic-seed"] = "\(data.seedOfSynthetic)"
      all["synthetic-slices"] = "\(data.slicesOfSynthetic)"
    }
    return all
  }
}
