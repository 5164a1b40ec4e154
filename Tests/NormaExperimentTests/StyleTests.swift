import Foundation
import NormaData
import NormaExchange
import NormaExperiment
import NormaFormats
import NormaModels
import NormaNN
import NormaNormalization
import NormaRecords
import NormaTensor
import NormaTraining
import TestSupport
import Testing

@Suite struct StyleTests {
  /// A small classifier, pictures and a network.
  private struct Setting {
    var norm = Normalization.instance
    var styles = 1
    var seed: UInt64 = 0
    var epochs = 3
    var pictures = 60
    var isAdaptive = false
    var recipe = StyleClassifier.Recipe()
    var classifier: StyleClassifier

    init() throws {
      Runtime.threads = 1
      (recipe.width, recipe.count, recipe.epochs) = (8, 300, 2)
      classifier = try StyleClassifier(recipe)
    }

    func workload() throws -> StyleWorkload {
      let textures = SyntheticTextures(side: 32)
      let (training, validation, _) = try textures.contents(pictures).split(validation: 0.2)
      var options = TrainingOptions()
      (options.epochs, options.learningRate, options.keepsBest) = (epochs, 3e-3, true)
      let stage = isAdaptive ? "relu3_1" : nil
      return StyleWorkload(
        training: training, validation: validation, test: nil,
        goal: try StyleGoal(
          loss: classifier.loss(.init(style: isAdaptive ? 1 : 5, totalVariation: 1), forAdaptive: stage),
          features: classifier.digest,
          styles: textures.styles().part(Array(1...styles), name: "styles"), device: .cpu),
        options: options, sampling: ImageSampling(batchSize: 1, seed: seed),
        network: isAdaptive
          ? .adaptive(stage: "relu3_1")
          : .transformation { [styles] norm in
            var options = TransformationNetwork.Options()
            (options.width, options.blocks, options.normalization, options.styles) = (6, 2, norm, styles)
            return options
          })
    }

    func trainer() throws -> StyleTrainer {
      let workload = try workload()
      let grid = Grid(norms: [norm], batchSizes: [1], learningRates: [3e-3], seeds: [seed])
      try Experiment(workload).validate(grid)
      return try StyleTrainer(
        task: workload.task(grid.cells[0], CellGenerators(seed: seed, device: .cpu)), options: workload.options)
    }
  }

  @Test func theClassifierTellsTheKindsApart() throws {
    let classifier = try Setting().classifier
    #expect(try #require(classifier.accuracy) > 0.6, "a tenth by chance")
  }

  /// The classifier and what it says of pictures as they are do not depend on the threads; the number stays as it was.
  @Test func threadsDoNotChangeTheLoss() throws {
    func made(threads: Int) throws -> (StyleClassifier, Double, Double) {
      var setting = try Setting()
      Runtime.threads = threads
      defer { Runtime.threads = 1 }
      setting.classifier = try StyleClassifier(setting.recipe)
      let workload = try setting.workload()
      let untouched = try workload.goal.evaluateUntouched(workload.validation)
      #expect(Runtime.threads == threads)
      return (setting.classifier, untouched.loss, untouched.style)
    }
    let (one, three) = (try made(threads: 1), try made(threads: 3))
    #expect(try state(one.0.network) == state(three.0.network))
    #expect(one.0.digest == three.0.digest)
    #expect(one.1 == three.1 && one.2 == three.2)
    var setting = try Setting()
    setting.recipe.epochs = 1
    #expect(try StyleClassifier(setting.recipe).digest != one.0.digest)
  }

  private func state(_ network: Module) throws -> [[Double]] {
    try network.stateDictionary().map { try $0.value.array() }
  }

  /// At batch size 1 batch normalization trains as instance normalization does, and evaluates by other statistics.
  @Test(arguments: [0, 1] as [UInt64]) func instanceLearnsAndBatchLagsInEvaluation(seed: UInt64) throws {
    var setting = try Setting()
    setting.seed = seed
    let untouched = try setting.workload().goal.evaluateUntouched(setting.workload().validation)
    #expect(untouched.content == 0)
    let instance = try setting.trainer()
    try instance.run()
    let found = try #require(instance.finalEvaluation)
    #expect(found.style < 0.3 * untouched.style)
    #expect(found.content < 0.7)
    #expect(found.pictures.count == 12)
    #expect(found.pictures.allSatisfy { $0.count == 3 * 32 * 32 && $0.allSatisfy { (0...1).contains($0) } })

    setting.norm = .batch
    let batch = try setting.trainer()
    try batch.run()
    for (a, b) in zip(instance.history, batch.history) {
      #expect(abs(a.loss - b.loss) < 0.02 * a.loss, "the same in training")
    }
    let lagging = try #require(batch.finalEvaluation)
    #expect(lagging.style > 1.5 * found.style && lagging.loss > found.loss)
  }

  @Test func severalStylesAreToldApart() throws {
    var setting = try Setting()
    (setting.styles, setting.epochs) = (2, 2)
    let trainer = try setting.trainer()
    try trainer.run()
    let workload = try setting.workload()
    let untouched = try workload.goal.evaluateUntouched(workload.validation)
    #expect(try #require(trainer.finalEvaluation).style < 0.5 * untouched.style)
    // A picture looks otherwise in the other style.
    guard case .transformation(let network) = trainer.task.network else { throw TrainingError("no network") }
    let picture = try Tensor(workload.validation.image(0), shape: [1, 3, 32, 32])
    let both = try [0, 1].map { try network(picture, styles: [$0]) }
    #expect(try (both[0] - both[1]).abs().mean().item() > 0.03)
  }

  @Test func theAdaptiveNetworkLearnsItsDecoderAlone() throws {
    var setting = try Setting()
    (setting.norm, setting.isAdaptive, setting.styles, setting.epochs) = (.none, true, 2, 2)
    let trainer = try setting.trainer()
    let before = try state(setting.classifier.network)
    try trainer.run()
    let losses = trainer.history.map(\.validationLoss)
    #expect(losses[1] < losses[0])
    #expect(try state(setting.classifier.network) == before)
    setting.norm = .instance
    #expect(throws: TrainingError.self) { try setting.trainer() }
  }

  @Test(arguments: [(Normalization.instance, 2), (.batch, 1)]) func goesOnBitForBit(norm: Normalization, styles: Int)
    throws
  {
    let folder = try TemporaryFolder()
    func make() throws -> StyleTrainer {
      var setting = try Setting()
      (setting.norm, setting.styles, setting.epochs, setting.pictures) = (norm, styles, 2, 12)
      return try setting.trainer()
    }
    func result(_ trainer: StyleTrainer) throws -> [[Double]] {
      let epochs = trainer.history.map { epoch in
        [epoch.loss, epoch.validationLoss] + epoch.scores.values.sorted() + epoch.validationScores.values.sorted()
      }
      return try state(trainer.task.model) + epochs
    }
    let whole = try make()
    try whole.run()
    var parts = 0
    while true {
      let part = try make()
      if parts > 0 { try part.restore(from: SafetensorsReader(folder.path("c"))) }
      parts += 1
      var steps = 0
      do {
        try part.run(
          onStep: { _ in steps += 1 },
          checkpoints: CheckpointPlan(isInterrupted: { steps >= 7 }) { try part.writeCheckpoint(to: folder.path("c")) })
        #expect(try result(part) == result(whole))
        break
      } catch is TrainingInterrupted {}
    }
    #expect(parts > 1)
  }

  @Test func weightsOfTorchvisionsClassifiers() throws {
    let folder = try TemporaryFolder()
    for layout in [FeatureNetwork.Layout.vgg16, .vgg19] {
      var options = FeatureNetwork.Options(layout)
      options.width = 2
      let network = try FeatureNetwork(options, generator: Generator(seed: 1))
      try network.writeWeights(to: folder.path("vgg"))
      let read = try StyleClassifier(file: folder.path("vgg"))
      #expect(read.network.options.layout == layout && read.accuracy == nil)
      #expect(
        try read.loss(.init()).styleStages == [
          "relu1_2", "relu2_2", layout == .vgg16 ? "relu3_3" : "relu3_4",
          layout == .vgg16 ? "relu4_3" : "relu4_4",
        ])
      #expect(try StyleClassifier(file: folder.path("vgg")).digest == read.digest)
    }
    try Safetensors.write([.init("head.weight", Tensor.zeros([2, 2]))], to: folder.path("other"))
    func message(_ path: String) -> String {
      do { _ = try StyleClassifier(file: path) } catch { return "\(error)" }
      return ""
    }
    #expect(message(folder.path("other")).contains("vgg16 or vgg19"))
    #expect(message(folder.path("other")).contains("head.weight"))
    try Safetensors.write(
      [
        .init("features.0.weight", Tensor.zeros([2, 3, 3, 3])),
        .init("features.28.weight", Tensor.zeros([2, 2, 3, 3])),
      ],
      to: folder.path("part"))
    #expect(message(folder.path("part")).contains("features.2.weight"))
    #expect(message(folder.path("none")).contains("No such file"))
    // Headers that promise what would not fit into memory, with hardly any data behind them.
    let hostile: [(shape: [Int], says: String)] = [
      ([1 << 60, 0, 1, 1], "1…1024"), ([4096, 1, 1, 1], "1…1024"), ([0, 3, 3, 3], "1…1024"), ([], "features.0.weight"),
      ([1024, 0, 3, 3], "features.0.weight: expected [1024, 3, 3, 3], got [1024, 0, 3, 3]"), ([1024], "got [1024]"),
    ]
    for (shape, says) in hostile {
      let count = shape.reduce(1) { $0.multipliedReportingOverflow(by: $1).partialValue }
      try Safetensors.write(
        [("features.0.weight", shape, count), ("features.28.weight", [1], 1)].map { name, shape, count in
          .init(name: name, type: .u8, shape: shape) { [UInt8](repeating: 0, count: count) }
        }, to: folder.path("hostile"))
      let text = message(folder.path("hostile"))
      #expect(text.contains("vgg16 or vgg19") && text.contains(says), "\(shape): \(text)")
    }
    // Of the right shapes, with one too many.
    var options = FeatureNetwork.Options(.vgg16)
    options.width = 2
    try Safetensors.write(
      FeatureNetwork(options).weightEntries() + [.init("features.99.weight", Tensor.zeros([1]))],
      to: folder.path("more"))
    #expect(message(folder.path("more")).contains("features.99.weight"))
  }

  @Test func whatDoesNotFit() throws {
    var setting = try Setting()
    setting.styles = 2
    setting.norm = .batch
    #expect(throws: NetworkError.self) { try setting.trainer() }
    setting.norm = .instance
    let workload = try setting.workload()
    let grey = try ImageDataset(
      name: "grey", channels: 1, height: 32, width: 32, pixels: .bytes(Array(repeating: 0, count: 1024)),
      targets: .values([0], name: "none"))
    #expect(throws: TrainingError.self) {
      try StyleGoal(loss: workload.goal.loss, features: "", styles: grey, device: .cpu)
    }
    #expect(throws: TrainingError.self) {
      try StyleTask(
        network: .transformation(TransformationNetwork()), goal: workload.goal, training: workload.training,
        validation: workload.validation, sampling: workload.sampling)
    }
  }
}
