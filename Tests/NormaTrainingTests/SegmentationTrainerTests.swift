import Foundation
import NormaData
import NormaFormats
import NormaModels
import NormaNN
import NormaNormalization
import NormaRecords
import NormaTensor
import NormaTraining
import TestSupport
import Testing

private typealias Parts = (training: SegmentationDataset, validation: SegmentationDataset)

@Suite struct SegmentationTrainerTests {
  private func data(width: Int = 64, height: Int = 64, slices: Int = 3, validation: Int = 1, seed: UInt64 = 1)
    throws
    -> Parts
  {
    let (images, labels) = SyntheticEM(width: width, height: height, slices: slices, seed: seed).make()
    return try SegmentationDataset(images: images, labels: labels, name: "synthetic").split(
      validationSlices: validation)
  }

  /// Membranes, dark and bright insides, and a strip without labels.
  private func threeClasses() throws -> Parts {
    let (images, labels) = SyntheticEM(width: 64, height: 64, slices: 3, seed: 2).make()
    let values = zip(images.values, labels.values).enumerated().map { index, pair -> Float in
      if index % 64 < 5 { return 7 }
      return pair.1 == 0 ? 0 : pair.0 < 150 ? 100 : 200
    }
    let marked = try ImageStack(pages: 3, channels: 1, height: 64, width: 64, format: .uint8, values: values)
    return try SegmentationDataset(images: images, labels: marked, ignore: 7, name: "three").split(
      validationSlices: 1)
  }

  private func model(
    _ norm: Normalization = .batch, width: Int = 2, outputs: Int = 1, dropout: Double = 0, seed: UInt64 = 0
  ) throws -> UNet {
    var options = UNet.Options()
    options.width = width
    options.normalization = norm
    options.outputChannels = outputs
    options.dropout = dropout
    options.head = .plain
    return try UNet(options, generator: Generator(seed: seed))
  }

  private func options(
    crop: Int = 32, batch: Int = 2, samples: Int = 6, epochs: Int = 1, seed: UInt64 = 0,
    _ change: (inout SegmentationSetting) -> Void = { _ in }
  ) -> SegmentationSetting {
    var options = SegmentationSetting(
      loader: SampleOptions(crop: crop, batchSize: batch, samplesPerEpoch: samples, seed: seed))
    options.epochs = epochs
    options.learningRate = 3e-3
    change(&options)
    return options
  }

  private func trainer(_ model: UNet, _ data: Parts, _ options: SegmentationSetting) throws -> SegmentationTrainer {
    // Tests run side by side: with several threads each they would wait for one another at every small operation.
    // The number holds for the calling thread.
    Runtime.threads = 1
    return try SegmentationTrainer(model, data, options)
  }

  private func timeless(_ history: [EpochRecord]) -> [EpochRecord] {
    history.map {
      var record = $0
      (record.seconds, record.validationSeconds, record.dataWaitSeconds) = (0, 0, 0)
      return record
    }
  }

  // MARK: - The run

  @Test(arguments: [Normalization.batch, .switchable]) func sameSeedSameHistory(_ norm: Normalization) throws {
    let data = try data()
    func run(_ seed: UInt64) throws -> (history: [EpochRecord], weights: [[Float]]) {
      let model = try model(norm, dropout: 0.5, seed: seed)
      let trainer = try trainer(
        model, data, options(epochs: 2, seed: seed) { $0.loader.augmentation = .full })
      try trainer.run()
      return (timeless(trainer.history), try model.parameters.map { try $0.value.array() })
    }
    let (first, again, other) = (try run(1), try run(1), try run(2))
    #expect(first.history.count == 2)
    #expect(first.history == again.history)
    #expect(first.weights == again.weights)
    #expect(first.history != other.history)
  }

  @Test func progressAndRecordsAgree() throws {
    let model = try model()
    let trainer = try trainer(model, try data(), options(samples: 5, epochs: 3) { $0.schedule = .cosine })
    var steps: [TrainingProgress] = []
    var records: [EpochRecord] = []
    try trainer.run(onStep: { steps.append($0) }, onEpoch: { records.append($0) })
    #expect(steps.map(\.epoch) == [1, 1, 1, 2, 2, 2, 3, 3, 3])
    #expect(steps.map(\.step) == [1, 2, 3, 1, 2, 3, 1, 2, 3])
    #expect(steps.allSatisfy { $0.stepsPerEpoch == 3 })
    #expect(records == trainer.history)
    #expect(records.map(\.epoch) == [1, 2, 3])
    for (record, step) in zip(records, [steps[2], steps[5], steps[8]]) {
      #expect(abs(record.loss - step.loss) < 1e-12 && abs(record.accuracy - (step.scores["accuracy"] ?? .nan)) < 1e-12)
      #expect(record.seconds > 0 && record.validationSeconds > 0)
      #expect((0...1).contains(record.accuracy) && (0...1).contains(record.validationAccuracy))
      #expect(record.validationDice.count == 2 && record.validationIntersectionOverUnion.count == 2)
    }
    // The rate of an epoch's last step: steps 2, 5 and 8 of 9 on half a cosine.
    for (record, step) in zip(records, [2.0, 5, 8]) {
      let factor: Double = (1 + cos(Double.pi * step / 9)) / 2
      #expect(abs(record.learningRate - 3e-3 * factor) < 1e-15)
    }
    #expect(trainer.stepMilliseconds.count == 9 && trainer.dataWaitMilliseconds.count == 9)
    #expect(model.namedModules().allSatisfy { $0.module.isTraining }, "training mode after evaluation")
    // An epoch's means weigh samples, not batches: 2 + 2 + 1.
    #expect(trainer.history[0].loss != steps[0].loss)
  }

  @Test func epochMeansWeighSamples() throws {
    // Two of three samples in the first batch. With a learning rate near zero, losses are those of the first state.
    let (parts, tiny) = (try data(), 1e-30)
    func losses(batch: Int) throws -> [Double] {
      var means: [Double] = []
      let trainer = try trainer(
        model(.none), parts,
        options(batch: batch, samples: 3) {
          $0.learningRate = tiny; $0.optimizer = .sgd
        })
      try trainer.run(onStep: { means.append($0.loss) })
      return means
    }
    let (single, pairs) = (try losses(batch: 1), try losses(batch: 2))
    #expect(abs(single[2] - pairs[1]) < 1e-6)
    #expect(abs(single[1] - pairs[0]) < 1e-6)
    #expect(abs(single[0] - single[2]) > 1e-6)
  }

  @Test func callbacksMayStopTheRun() throws {
    struct Stop: Error {}
    let trainer = try trainer(try model(), try data(), options(epochs: 3))
    #expect(throws: Stop.self) { try trainer.run(onEpoch: { _ in throw Stop() }) }
    #expect(trainer.history.count == 1)
    let other = try self.trainer(try model(), try data(), options(epochs: 3))
    #expect(throws: Stop.self) { try other.run(onStep: { if $0.step == 2 { throw Stop() } }) }
    #expect(other.history.isEmpty && other.stepMilliseconds.count == 2)
  }

  @Test func lossThatIsNoNumberEndsTheRun() throws {
    let data = try data()
    // One step per epoch: the first loss is a number, the first step ruins the weights, which validation sees.
    let late = try trainer(
      try model(.none), data, options(batch: 1, samples: 1, epochs: 3) { $0.learningRate = 1e30 })
    let error = try #require(throws: TrainingError.self) { try late.run() }
    #expect(error.description.contains("after epoch 1"))
    #expect(error.description.contains("--learning-rate"))
    #expect(late.history.map(\.epoch) == [1])
    #expect(late.history[0].loss.isFinite && !late.history[0].validationLoss.isFinite)
    #expect(late.finalEvaluation == nil)
    #expect(late.stepMilliseconds.count == 1)
    let early = try trainer(
      try model(.none), data, options(batch: 1, samples: 3) { $0.learningRate = 1e30 })
    let first = try #require(throws: TrainingError.self) { try early.run() }
    #expect(first.description.contains("epoch 1, step 2"))
    #expect(early.history.isEmpty)
  }

  @Test func everyLossOptimizerAndTypeTrains() throws {
    let data = try data()
    for kind in SegmentationLoss.Kind.allCases {
      let trainer = try trainer(
        try model(), data,
        options(samples: 4) {
          $0.loss = SegmentationLoss(kind: kind, classWeights: [2, 1])
          $0.loader.borderWeighting = BorderWeighting()
        })
      try trainer.run()
      #expect(trainer.history[0].loss > 0 && trainer.history[0].validationLoss > 0)
    }
    for optimizer in OptimizerKind.allCases {
      let model = try model()
      let before: [[Float]] = try model.parameters.map { try $0.value.array() }
      try trainer(model, data, options(samples: 2) { $0.optimizer = optimizer }).run()
      for (parameter, old) in zip(model.namedParameters(), before)
      where parameter.key.hasSuffix("norm.weight") {
        #expect(try parameter.parameter.value.array() != old, "\(optimizer) \(parameter.key)")
      }
    }
    let low = try trainer(try model(), data, options(samples: 4) { $0.dtype = .bfloat16 })
    try low.run()
    #expect(low.history[0].loss.isFinite && low.history[0].validationLoss.isFinite)
  }

  @Test func optionsThatDoNotFitAreErrors() throws {
    let data = try data()
    func check(_ options: SegmentationSetting) throws {
      try options.validate(data.training)
    }
    try check(options())
    let wrong: [SegmentationSetting] = [
      options(crop: 40), options(epochs: 0), options { $0.learningRate = 0 },
      options { $0.learningRate = -1 },
      options { $0.learningRate = .nan }, options { $0.learningRate = .infinity },
      options { $0.loss.classWeights = [1] }, options { $0.loss.classWeights = [1, -1] },
      options { $0.loss.classWeights = [1, .nan] }, options { $0.loss.classWeights = [1, 2, 3] },
    ]
    for options in wrong { #expect(throws: TrainingError.self) { try check(options) } }
    let crop = try #require(throws: TrainingError.self) { try check(options(crop: 40)) }
    #expect(crop.description.contains("divisible by 16, got 40; choose 32"))
    for options in [options(crop: 80), options(batch: 0), options(samples: 0)] {
      #expect(throws: DataError.self) { try check(options) }
    }
    #expect(throws: TrainingError.self) { try trainer(try model(), data, options(crop: 40)) }
  }

  // MARK: - Evaluation

  /// Reflects 0 … extent − 1 at its ends without repeating them.
  private func reflected(_ place: Int, _ extent: Int) -> Int {
    place < extent ? place : 2 * (extent - 1) - place
  }

  @Test func slicesOfAnySizeAreMirroredAndCut() throws {
    let (width, height) = (56, 72)
    let data = try data(width: width, height: height, slices: 4, validation: 2)
    let model = try model(.switchable)
    let trainer = try trainer(model, data, options(crop: 48, samples: 4))
    try trainer.run()
    let evaluation = try trainer.evaluate()
    #expect(evaluation.probabilities.map(\.count) == [4032, 4032])
    #expect(evaluation.predictions.map(\.count) == [4032, 4032])
    #expect(evaluation.confusion.total == 2 * 4032)
    model.evaluate()
    var (losses, right) = (0.0, 0)
    for page in 0..<2 {
      let image = data.validation.image(page: page)
      let padded = (0..<80).flatMap { y in
        (0..<64).map { x in image[reflected(y, height) * width + reflected(x, width)] }
      }
      let whole: [Double] = try withoutGradients {
        try model(Tensor(padded, shape: [1, 1, 80, 64])).array()
      }
      let logits = (0..<height).flatMap { whole[64 * $0..<64 * $0 + width] }
      let probabilities = logits.map { 1 / (1 + exp(-$0)) }
      #expect(relativeError(evaluation.probabilities[page].map(Double.init), probabilities) < 1e-5)
      let labels = data.validation.labels(page: page)
      losses += zip(probabilities, labels).reduce(0) { $0 - log($1.1 == 1 ? $1.0 : 1 - $1.0) } / 4032
      for index in labels.indices where abs(logits[index]) > 1e-5 {
        #expect(evaluation.predictions[page][index] == (logits[index] > 0 ? 1 : 0))
      }
      right += zip(evaluation.predictions[page], labels).count { $0 == $1 }
    }
    #expect(abs(evaluation.loss - losses / 2) < 1e-5)
    #expect(evaluation.confusion.accuracy == Double(right) / 8064)
    // What a run records is this evaluation.
    #expect(trainer.history[0].validationLoss == evaluation.loss)
    #expect(trainer.history[0].validationAccuracy == evaluation.confusion.accuracy)
    #expect(trainer.history[0].validationDice == (0..<2).map(evaluation.confusion.dice))
    #expect(try trainer.evaluate(keepingPredictions: false).probabilities.isEmpty)
  }

  @Test func threeClassesAndPixelsWithoutLabels() throws {
    let data = try threeClasses()
    #expect(data.training.classes == 3)
    let trainer = try trainer(
      try model(outputs: 3), data,
      options(samples: 8) {
        $0.loss = SegmentationLoss(kind: .crossEntropyAndDice, classWeights: [1, 2, 0.5])
      })
    try trainer.run()
    let record = trainer.history[0]
    #expect(record.loss.isFinite && (0...1).contains(record.accuracy))
    #expect(record.validationDice.count == 3)

    let plain = try self.trainer(try model(outputs: 3), data, options(samples: 8))
    try plain.run()
    let evaluation = try plain.evaluate()
    let (probabilities, labels) = (evaluation.probabilities[0], data.validation.labels(page: 0))
    #expect(probabilities.count == 3 * 4096)
    let labelled = labels.indices.filter { labels[$0] != SegmentationDataset.ignoredClass }
    #expect(labelled.count == 64 * 59)
    #expect(evaluation.confusion.total == labelled.count, "pixels without a label are not scored")
    for pixel in labels.indices {
      let shares = (0..<3).map { probabilities[$0 * 4096 + pixel] }
      #expect(abs(shares.reduce(0, +) - 1) < 1e-5)
      #expect(shares[Int(evaluation.predictions[0][pixel])] == shares.max())
    }
    let loss = labelled.reduce(0.0) { $0 - log(Double(probabilities[Int(labels[$1]) * 4096 + $1])) }
    #expect(abs(evaluation.loss - loss / Double(labelled.count)) < 1e-4)
  }

  @Test func theBestEpochComesBack() throws {
    let data = try data(width: 64, height: 64, slices: 5, validation: 2)
    var options = options(crop: 32, batch: 2, samples: 12, epochs: 6)
    options.keepsBest = true
    let model = try model(.batch, width: 2)
    let trainer = try trainer(model, data, options)
    // Spoils the last epoch.
    try trainer.run(onEpoch: {
      guard $0.epoch == 5 else { return }
      try withoutGradients { try model.head.conv2.bias!.value.fill(-40) }
    })
    let losses = trainer.history.map(\.validationLoss)
    let best = try #require(losses.min())
    #expect(trainer.bestEpoch == losses.firstIndex(of: best)! + 1)
    #expect(best < losses[5], "the last epoch is not the best")
    #expect(abs(try trainer.evaluate().loss - losses[5]) < 1e-6)
    try trainer.restoreBest()
    #expect(abs(try trainer.evaluate().loss - best) < 1e-6)
    let others = try trainer.evaluate(on: data.training)
    #expect(others.predictions.count == 3)
  }

  // MARK: - All together

  /// Membranes are 22.5 % of the stack, so that calling everything cell scores about 0.775 on average.
  @Test(arguments: [Normalization.batch, .switchable]) func learnsMembranes(_ norm: Normalization) throws {
    let data = try data(width: 96, height: 96, slices: 6, validation: 1)
    let trainer = try trainer(
      try model(norm, width: 4), data, options(crop: 64, batch: 1, samples: 80, epochs: 3))
    try trainer.run()
    let evaluation = try trainer.evaluate()
    #expect(evaluation.confusion.constantAccuracy < 0.79)
    #expect(evaluation.confusion.accuracy > 0.84)
    #expect(evaluation.confusion.constantPrediction == nil)
    #expect(trainer.history[2].loss < trainer.history[0].loss)
  }
}
