#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

import ArgumentParser
import NormaData
import NormaFormats
import NormaModels
import NormaNormalization
import NormaRecords
import NormaReport
import NormaTensor
import NormaTraining

/// Trains the U-Net under each of several normalizations: the same initial weights but for the norm itself, the
/// same samples in the same order with the same augmentation, the same dropout.
struct Experiment {
  let command: String
  let norms: [Normalization]
  let data: DataOptions
  let network: NetworkOptions
  let training: TrainingCommandOptions
  let output: OutputOptions

  func run() throws {
    try Runtime.check()
    _ = try InstructionSet.current.get()
    // Before the first tensor, so that all are counted.
    TensorMemory.install(training.allocator.choice)
    let started = Date()
    let device = try training.resolvedDevice()
    if let threads = training.threads { Runtime.threads = threads }
    let loaded = try data.load(crop: training.crop)
    let options = try training.options(training: loaded.training)
    // Everything that can be wrong is found before anything is written or trained.
    let multiple = network.options(.none).extentMultiple
    try SegmentationTrainer.validate(options, extentMultiple: multiple, training: loaded.training)
    for norm in norms { try network.options(norm).validate() }

    let folder = try OutputFolder(output, command: command, started: started)
    var record = ComparisonRecord(
      started: started.formatted(.iso8601), environment: environment(device),
      configuration: configuration(options), data: describe(loaded), norms: [])
    try folder.write(record)
    let progress = Progress(norms: norms.count, epochs: options.epochs)
    progress.note("\(loaded.name) → \(folder.path)")
    for (index, norm) in norms.enumerated() {
      progress.begin(norm.name, index: index)
      let result = try train(norm, loaded, options, progress, folder, &record)
      if let failure = result.failure { progress.note("\(norm.name): \(failure)") }
    }
    print(output.json ? try ResultsFile.text(record) : ComparisonTable.text(record) + "\n\nResults: \(folder.path)")
    if record.norms.contains(where: { $0.failure != nil }) { throw ExitCode.failure }
  }

  /// Trains one norm and writes all it leaves; `record` is kept up to date on disk after every epoch.
  private func train(
    _ norm: Normalization, _ loaded: DataOptions.Loaded, _ options: TrainingOptions, _ progress: Progress,
    _ folder: OutputFolder, _ record: inout ComparisonRecord
  ) throws -> NormRecord {
    TensorMemory.returnUnused()
    TensorMemory.resetPeak()
    // A peak that cannot be reset is of earlier norms too, and not told.
    let hasOwnPeak = ProcessMemory.resetPeak()
    let generator = try Generator(seed: training.seed)
    let model = try UNet(
      network.options(norm, inputChannels: loaded.training.channels, classes: loaded.training.classes),
      generator: generator,
      dropoutGenerator: options.device == .cpu ? generator : try Generator(seed: training.seed, device: options.device))
    let trainer = try SegmentationTrainer(
      model: model, extentMultiple: model.options.extentMultiple, training: loaded.training,
      validation: loaded.validation, options: options)
    var result = NormRecord(
      norm: norm.name, totalParameters: model.totalCount, trainableParameters: model.trainableCount, history: [],
      stepMilliseconds: [], dataWaitMilliseconds: [], peakTensorBytes: 0, peakProcessBytes: nil, failure: nil,
      collapsedToClass: nil, mixes: [])
    let place = record.norms.count
    record.norms.append(result)
    func update() throws {
      result.history = trainer.history
      result.stepMilliseconds = trainer.stepMilliseconds
      result.dataWaitMilliseconds = trainer.dataWaitMilliseconds
      result.peakTensorBytes = TensorMemory.peakBytes
      result.peakProcessBytes = hasOwnPeak ? ProcessMemory.peakResidentBytes : nil
      record.norms[place] = result
      try folder.writeHistory(result.history, norm: norm.name)
      try folder.write(record)
    }
    do {
      try trainer.run(
        onStep: { progress.step($0) },
        onEpoch: {
          progress.epoch($0)
          try update()
        })
      if let evaluation = trainer.finalEvaluation {
        if evaluation.confusion.constantAccuracy < 1 {
          result.collapsedToClass = evaluation.confusion.constantPrediction
        }
        try folder.writePredictions(evaluation, norm: norm.name, validation: loaded.validation)
      }
      result.mixes = try mixes(model)
      try folder.writeWeights(model, norm: norm.name, metadata: metadata(model))
    } catch let error as FormatError {
      // Nothing can be written any more: no use in going on.
      throw error
    } catch {
      // The other norms still have their say.
      result.failure = "\(error)"
    }
    try update()
    return result
  }

  private func metadata(_ model: UNet) -> [String: String] {
    [
      "architecture": "unet", "norm": model.options.normalization.name, "width": "\(network.width)",
      "head": network.head.rawValue, "input_channels": "\(model.options.inputChannels)",
      "output_channels": "\(model.options.outputChannels)", "norma": Norma.version,
    ]
  }

  private func mixes(_ model: UNet) throws -> [MixRecord] {
    try model.namedModules().compactMap { key, module in
      guard let norm = module as? SwitchableNorm else { return nil }
      let shares = try norm.namedShares()
      return MixRecord(
        layer: key, branches: shares.map(\.branch), mean: shares.map(\.mean), variance: shares.map(\.variance))
    }
  }

  private func describe(_ loaded: DataOptions.Loaded) -> DataRecord {
    DataRecord(
      name: loaded.name, isSynthetic: loaded.isSynthetic, trainingSlices: loaded.training.pages,
      validationSlices: loaded.validation.pages, height: loaded.training.height, width: loaded.training.width,
      channels: loaded.training.channels, classes: loaded.training.classes,
      constantAccuracy: loaded.validation.classFrequencies.max() ?? 0)
  }

  private func environment(_ device: Device) -> EnvironmentRecord {
    EnvironmentRecord(
      norma: Norma.version, libtorch: Runtime.version, processor: Processor.name, threads: Runtime.threads,
      device: device.description)
  }

  /// The options by their names on the command line.
  private func configuration(_ options: TrainingOptions) -> [String: String] {
    var all = [
      "norms": norms.map(\.name).joined(separator: ","), "val-slices": "\(data.valSlices)",
      "width": "\(network.width)", "dropout": "\(network.dropout)", "head": network.head.rawValue,
      "epochs": "\(training.epochs)", "samples-per-epoch": "\(training.samplesPerEpoch)",
      "batch-size": "\(training.batchSize)", "crop": "\(training.crop)", "seed": "\(training.seed)",
      "augment": training.augment.rawValue, "loss": training.loss.rawValue,
      "class-weights": training.classWeights.description, "border-weights": "\(training.borderWeights)",
      "optimizer": training.optimizer.rawValue, "learning-rate": "\(options.learningRate)",
      "weight-decay": "\(training.weightDecay)", "schedule": options.schedule.name,
      "dtype": training.dtype.rawValue, "device": training.device, "threads": "\(Runtime.threads)",
      "allocator": training.allocator.rawValue, "memory": training.memory.rawValue,
    ]
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
