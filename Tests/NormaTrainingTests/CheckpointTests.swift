import Foundation
import NormaData
import NormaExchange
import NormaFormats
import NormaModels
import NormaNN
import NormaNormalization
import NormaRecords
import NormaTensor
import NormaTraining
import TestSupport
import Testing

@Suite struct CheckpointTests {
  struct Training {
    let model: UNet
    let trainer: SegmentationTrainer

    /// Small, with everything that a checkpoint has to keep: dropout, augmentation, running statistics, momentum.
    init(
      _ norm: Normalization = .switchable, seed: UInt64 = 3, width: Int = 2, data dataSeed: UInt64 = 1,
      _ change: (inout SegmentationSetting) -> Void = { _ in }, network adapt: (inout UNet.Options) -> Void = { _ in }
    ) throws {
      Runtime.threads = 1
      let (images, labels) = SyntheticEM(width: 32, height: 32, slices: 3, seed: dataSeed).make()
      let data = try SegmentationDataset(images: images, labels: labels, name: "synthetic").split(validationSlices: 1)
      var options = SegmentationSetting(
        loader: .init(crop: 16, batchSize: 2, samplesPerEpoch: 7, seed: seed, augmentation: .full))
      (options.epochs, options.learningRate, options.keepsBest) = (3, 3e-3, true)
      change(&options)
      var network = UNet.Options()
      (network.width, network.depth, network.normalization, network.dropout) = (width, 2, norm, 0.3)
      adapt(&network)
      let generator = try Generator(seed: seed)
      model = try UNet(network, generator: generator)
      if options.dtype == .float64 { try model.to(dtype: .float64) }
      trainer = try SegmentationTrainer(model, data, options, generators: [generator])
    }

    func result() throws -> TrainingResult { try TrainingResult(trainer) }
  }

  @Test(arguments: OptimizerKind.allCases, [2, 5])
  func goesOnBitForBit(kind: OptimizerKind, steps: Int) throws {
    let folder = try TemporaryFolder()
    func make() throws -> Training { try Training { $0.optimizer = kind } }
    let whole = try make()
    try whole.trainer.run()
    let expected = try whole.result()
    #expect(expected.steps == 12)
    let (result, parts) = try interrupted(every: steps, at: folder.path("c")) { try make().trainer }
    #expect(result == expected)
    // After the last step there is nothing to interrupt.
    #expect(parts == (12 + steps - 1) / steps)
  }

  @Test(arguments: [2, 3]) func validAndVolumesGoOn(dimensions: Int) throws {
    let folder = try TemporaryFolder()
    func make() throws -> Training {
      try Training {
        if dimensions == 2 { $0.loader.crop = 30 } else { $0.loader.slices = 2 }
      } network: {
        ($0.depth, $0.head, $0.dimensions, $0.padding) = (1, .plain, dimensions, dimensions == 2 ? .valid : .same)
      }
    }
    let whole = try make()
    try whole.trainer.run()
    #expect(try interrupted(every: 5, at: folder.path("c")) { try make().trainer }.result == whole.result())
  }

  @Test(arguments: [Normalization.batch, .group(groups: 2)]) func averagesPlateausAndEarlyEnds(norm: Normalization)
    throws
  {
    let folder = try TemporaryFolder()
    func make() throws -> Training {
      try Training(norm) {
        $0.epochs = 8
        $0.averageDecay = 0.9
        $0.schedule = .plateau(patience: 1, factor: 0.5)
        $0.earlyStopping = 3
        // So that the loss does not go on becoming lower.
        $0.learningRate = 0.1
      }
    }
    let whole = try make()
    try whole.trainer.run()
    let (result, parts) = try interrupted(every: 5, at: folder.path("c")) { try make().trainer }
    #expect(try result == whole.result())
    #expect(parts > 1)
  }

  @Test func aGeneratorThatIsForgottenWouldShow() throws {
    let folder = try TemporaryFolder()
    let whole = try Training()
    try whole.trainer.run()
    let path = folder.path("c")
    let (result, _) = try interrupted(every: 3, at: path) {
      let training = try Training()
      if FileManager.default.fileExists(atPath: path) {
        // Another state of the generator than the interrupted training had.
        let file = try SafetensorsReader(path)
        let entries = try file.entries.map { entry in
          let state = try Generator(seed: 9).state()
          return try entry.name == "generator.0"
            ? Safetensors.Entry(entry.name, state) : Safetensors.Entry(entry.name, file.tensor(entry))
        }
        try Safetensors.write(entries, metadata: file.metadata, to: path)
      }
      return training.trainer
    }
    #expect(try result != whole.result())
  }

  @Test func earlyStoppingEndsAfterItsPatience() throws {
    let training = try Training {
      $0.epochs = 20
      $0.learningRate = 1e-9
      $0.optimizer = .sgd
      $0.momentum = 0
      $0.earlyStopping = 2
    }
    try training.trainer.run()
    let best = try #require(training.trainer.bestEpoch)
    #expect(training.trainer.hasStoppedEarly)
    #expect(training.trainer.history.count == best + 2)
    #expect(training.trainer.finalEvaluation != nil)
  }

  @Test func averagedWeightsAreWhatTheFormulaSays() throws {
    let weight = try Linear(inputs: 1, outputs: 1, generator: Generator(seed: 0))
    let average = try WeightAverage(weight, decay: 0.15)
    var values: [Double] = []
    var expected = try weight.weight.value.item()
    for step in 0..<4 {
      try weight.weight.value.fill(Double(step * step + 1))
      let kept = min(0.15, Double(1 + step) / Double(10 + step))
      expected = kept * expected + (1 - kept) * Double(step * step + 1)
      try average.update()
      values.append(try average.applied { try weight.weight.value.item() })
    }
    #expect(abs(values[3] - expected) < 1e-6)
    #expect(try weight.weight.value.item() == 10, "the weights are back afterwards")
  }

  // MARK: - What cannot be gone on with

  @Test func otherOptionsNetworksAndFilesAreNamed() throws {
    let folder = try TemporaryFolder()
    let path = folder.path("c")
    let training = try Training()
    try? training.trainer.run(
      checkpoints: CheckpointPlan(isInterrupted: { true }) { try training.trainer.writeCheckpoint(to: path) })
    let file = try SafetensorsReader(path)
    func failure(_ file: SafetensorsReader, _ make: () throws -> Training) -> String {
      do {
        try make().trainer.restore(from: file)
        return ""
      } catch { return "\(error)" }
    }
    #expect(failure(file) { try Training { $0.learningRate = 1 } }.contains("learning-rate 0.003 there, 1.0 now"))
    #expect(failure(file) { try Training(seed: 4) }.contains("seed 3 there, 4 now"))
    #expect(failure(file) { try Training(data: 2) }.contains("images and labels"))
    #expect(failure(file) { try Training(.batch) }.contains("encoder.0.conv1.norm.mean_weight"))
    #expect(failure(file) { try Training(width: 4) }.contains("expected [4, 1, 3, 3], got [2, 1, 3, 3]"))
    try training.model.writeWeights(to: folder.path("w"))
    #expect(failure(try SafetensorsReader(folder.path("w"))) { try Training() }.contains("no checkpoint"))

    // Every tensor that is left out, and every part of the metadata that is damaged.
    let entries = try file.entries.map { Safetensors.Entry($0.name, try file.tensor($0)) }
    for kind in ["model.", "optimizer.", "generator.", "milliseconds."] {
      let without = try #require(entries.firstIndex { $0.name.hasPrefix(kind) })
      var fewer = entries
      fewer.remove(at: without)
      try Safetensors.write(fewer, metadata: file.metadata, to: folder.path("d"))
      #expect(failure(try SafetensorsReader(folder.path("d"))) { try Training() }.contains("missing"), "\(kind)")
    }
    for (key, value) in [("training", "{}"), ("training", "["), ("options", "1"), ("checkpoint", "1")] {
      try Safetensors.write(entries, metadata: file.metadata.merging([key: value]) { $1 }, to: folder.path("d"))
      #expect(
        failure(try SafetensorsReader(folder.path("d"))) { try Training() }.contains("no checkpoint"), "\(key) \(value)"
      )
    }
  }

  @Test func countsThatCannotBeAreErrors() throws {
    let folder = try TemporaryFolder()
    let (path, broken) = (folder.path("c"), folder.path("b"))
    func make() throws -> Training { try Training { $0.averageDecay = 0.9 } }
    let training = try make()
    try? training.trainer.run(
      checkpoints: CheckpointPlan(isInterrupted: { true }) { try training.trainer.writeCheckpoint(to: path) })
    let file = try SafetensorsReader(path)
    let entries = try file.entries.map { Safetensors.Entry($0.name, try file.tensor($0)) }
    let text = try #require(file.metadata["training"])
    #expect(text.contains(#""samples":2,"#) && text.contains(#""steps":1"#))
    for (old, new) in [
      (#""samples":2,"#, #""samples":9223372036854775807,"#), (#""steps":1"#, #""steps":9223372036854775807"#),
      (#""steps":1"#, #""steps":-1"#), (#""steps":1"#, #""steps":3"#), (#""loss":"#, #""loss":"nan","x":"#),
    ] {
      let metadata = file.metadata.merging(["training": text.replacing(old, with: new)]) { $1 }
      try Safetensors.write(entries, metadata: metadata, to: broken)
      let error = #expect(throws: TrainingError.self) { try make().trainer.restore(from: SafetensorsReader(broken)) }
      #expect(error?.description.contains("contradict") == true, "\(new): \(error?.description ?? "")")
    }
    for key in ["optimizer.0.step", "average.updates"] {
      for value in [try Tensor(Int.max), try Tensor(-1), try Tensor(Double.nan)] {
        let changed = entries.map { $0.name == key ? Safetensors.Entry(key, value) : $0 }
        try Safetensors.write(changed, metadata: file.metadata, to: broken)
        let error = #expect(throws: TrainingError.self) { try make().trainer.restore(from: SafetensorsReader(broken)) }
        #expect(error?.description.contains("count of steps") == true, "\(error?.description ?? "")")
      }
    }
  }

  @Test func averagesLeaveSchedulesAlone() throws {
    let norm = try Normalization(parsing: "switchable:sparse")
    let training = try Training(norm) { $0.averageDecay = 0.99 }
    try training.trainer.run()
    let radii = training.model.namedBuffers().filter { $0.key.hasSuffix("radius") }
    #expect(!radii.isEmpty)
    // The last step's, which is nearer to its end than any average.
    let weights = try Training(norm)
    try weights.trainer.run()
    let expected = weights.model.namedBuffers().filter { $0.key.hasSuffix("radius") }
    for (own, other) in zip(radii, expected) { #expect(try own.buffer.value.item() == other.buffer.value.item()) }
  }

  @Test func brokenCheckpointsAreErrorsNotCrashes() throws {
    let folder = try TemporaryFolder()
    let (path, broken) = (folder.path("c"), folder.path("b"))
    let training = try Training()
    var done = 0
    try? training.trainer.run(
      onStep: { _ in done += 1 },
      checkpoints: CheckpointPlan(isInterrupted: { done > 5 }) { try training.trainer.writeCheckpoint(to: path) })
    let whole = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
    let header = 8 + Int(whole[0]) + Int(whole[1]) << 8 + Int(whole[2]) << 16
    // The numbers and words of the training's state: what a reader of the file alone cannot check.
    let text = String(decoding: whole[8..<header], as: UTF8.self)
    let state = try #require(text.range(of: "training\":")).lowerBound
    let places = text[state...].indices.prefix(1500).map { text.utf8.distance(from: text.startIndex, to: $0) + 8 }
    // `make fuzz` asks for more.
    let count = ProcessInfo.processInfo.environment["NORMA_BROKEN_CHECKPOINTS"].flatMap { Int($0) } ?? 400
    var random = RandomSource(seed: UInt64(count))
    var refused = 0
    let reader = try Training()
    for _ in 0..<count {
      var bytes = whole
      for _ in 0...random.integer(below: 3) {
        let place = places[random.integer(below: places.count)]
        bytes[place] = [UInt8](("0123456789-eE.,:[]{}tn".utf8))[random.integer(below: 22)]
      }
      try Data(bytes).write(to: URL(fileURLWithPath: broken))
      do {
        try reader.trainer.restore(from: SafetensorsReader(broken))
      } catch {
        refused += 1
        #expect(error is TrainingError || error is FormatError || error is StateError, "\(error)")
      }
    }
    #expect(refused > 100)
    // What was taken can be gone on with.
    try reader.trainer.run()
  }

  @Test func aCheckpointThatCannotBeWrittenLeavesTheLastOne() throws {
    let folder = try TemporaryFolder()
    let path = folder.path("c")
    let training = try Training()
    try? training.trainer.run(
      checkpoints: CheckpointPlan(isInterrupted: { true }) { try training.trainer.writeCheckpoint(to: path) })
    let before = try Data(contentsOf: URL(fileURLWithPath: path))
    // An entry that fails halfway, as a full disk does.
    struct Full: Error {}
    let entries = [
      Safetensors.Entry(name: "a", type: .u8, shape: [1 << 20]) { [UInt8](repeating: 1, count: 1 << 20) },
      Safetensors.Entry(name: "b", type: .u8, shape: [4]) { throw Full() },
    ]
    #expect(throws: Full.self) { try Safetensors.write(entries, to: path) }
    #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == before)
    #expect(folder.names == ["c"], "nothing half written remains")
    let again = try Training()
    try again.trainer.restore(from: SafetensorsReader(path))
    #expect(again.trainer.stepMilliseconds.count == 1)
  }
}
