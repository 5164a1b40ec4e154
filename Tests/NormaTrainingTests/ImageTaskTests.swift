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

/// A linear layer over the values of an image, with a penalty on its weights where asked for.
private final class LinearNetwork: Module, Layer, PenalizedModule {
  let flatten = Flatten()
  let linear: Linear
  private let factor: Double

  /// - Parameter weight: a row per output; the bias is 0.
  init(_ weight: [[Float]], penalty factor: Double = 0) throws {
    linear = try Linear(
      weight: Tensor(weight.flatMap { $0 }, shape: [weight.count, weight[0].count]),
      bias: Tensor.zeros([weight.count]))
    self.factor = factor
  }

  func forward(_ input: Tensor) throws -> Tensor { try linear(flatten(input)) }
  func penalty() throws -> Tensor { try linear.weight.sumOfSquares() * factor }
}

@Suite struct ImageTaskTests {
  /// Images of two values each.
  private static let points: [[Float]] = [[1, 2], [-1, 0.5], [0.25, -3], [2, 2], [0, -1], [-2, 1]]
  private static let classes: [UInt16] = [0, 1, 2, 0, 2, 0]
  private static let numbers: [Float] = [0.5, -1, 2, 0, 1, 0.25]

  private func images(_ targets: ImageDataset.Targets, count: Int = 6) throws -> ImageDataset {
    let cut: ImageDataset.Targets =
      switch targets {
      case .classes(let classes, let names): .classes(Array(classes.prefix(count)), names: names)
      case .values(let values, let name): .values(Array(values.prefix(count)), name: name)
      }
    return try ImageDataset(
      name: "points", channels: 1, height: 1, width: 2, pixels: .reals(Self.points.prefix(count).flatMap { $0 }),
      targets: cut)
  }

  private var classified: ImageDataset.Targets { .classes(Self.classes, names: ["a", "b", "c"]) }
  private var measured: ImageDataset.Targets { .values(Self.numbers, name: "score") }

  private func trainer(
    _ network: any Layer, _ training: ImageDataset, _ validation: ImageDataset? = nil, batch: Int = 6,
    _ change: (inout TrainingOptions) -> Void = { _ in }
  ) throws -> ImageTrainer {
    Runtime.threads = 1
    var options = TrainingOptions()
    (options.epochs, options.optimizer, options.learningRate, options.momentum) = (1, .sgd, 0.1, 0)
    change(&options)
    return try ImageTrainer(
      task: ImageTask(
        model: network, training: training, validation: validation ?? training,
        sampling: ImageSampling(batchSize: batch, seed: 0), standardization: nil), options: options)
  }

  // MARK: - Against hand computation

  @Test func crossEntropyAndAccuracy() throws {
    let weight: [[Float]] = [[1, 0.5], [-0.5, 0.25], [0, -0.5]]
    let data = try images(classified)
    let trainer = try trainer(LinearNetwork(weight), data)
    let rows = Self.points.map { point in
      let logits = weight.map { Double($0[0] * point[0] + $0[1] * point[1]) }
      let sum = logits.reduce(0) { $0 + exp($1) }
      return logits.map { exp($0) / sum }
    }
    let loss = zip(rows, Self.classes).reduce(0) { $0 - log($1.0[Int($1.1)]) } / 6
    let likeliest = rows.map { row in row.firstIndex(of: row.max()!)! }
    let right = zip(likeliest, Self.classes).count { $0 == Int($1) }
    #expect(right == 5, "so that accuracy is not trivial")
    let evaluation = try trainer.evaluate()
    #expect(abs(evaluation.loss - loss) < 1e-6)
    #expect(evaluation.scores[.accuracy] == Double(right) / 6)
    #expect(relativeError(evaluation.outputs.flatMap { $0.map(Double.init) }, rows.flatMap { $0 }) < 1e-6)
    // Harmonic means of precision and recall: 2 · hits / (predicted + there), over the classes.
    let f1 =
      (0..<3).reduce(0.0) { sum, number in
        let hits = zip(likeliest, Self.classes).count { $0 == number && Int($1) == number }
        return sum + 2 * Double(hits)
          / Double(likeliest.count { $0 == number } + Self.classes.count { Int($0) == number })
      } / 3
    #expect(abs(try #require(evaluation.f1) - f1) < 1e-12)
    // One step over all images records what was before it.
    try trainer.run()
    #expect(abs(trainer.history[0].loss - loss) < 1e-6)
    #expect(trainer.history[0].scores == ["accuracy": Double(right) / 6])
    #expect(trainer.history[0].validationLoss < loss, "the step has trained")
  }

  @Test func squaredAndAbsoluteError() throws {
    let weight: [Float] = [0.5, -0.25]
    let trainer = try trainer(LinearNetwork([weight]), images(measured), batch: 4) { $0.learningRate = 1e-30 }
    let outputs = Self.points.map { Double($0[0] * weight[0] + $0[1] * weight[1]) }
    let errors = zip(outputs, Self.numbers).map { $0 - Double($1) }
    let (squared, absolute) = (
      errors.reduce(0) { $0 + $1 * $1 } / 6, errors.reduce(0) { $0 + abs($1) } / 6
    )
    let evaluation = try trainer.evaluate()
    #expect(abs(evaluation.loss - squared) < 1e-6)
    #expect(abs(try #require(evaluation.scores[.mae]) - absolute) < 1e-6)
    #expect(evaluation.f1 == nil && evaluation.collapsedToClass == nil)
    #expect(relativeError(evaluation.outputs.map { Double($0[0]) }, outputs) < 1e-6)
    // Batches of four and two: the means are over the images, not over the batches.
    try trainer.run()
    #expect(abs(trainer.history[0].loss - squared) < 1e-6)
    #expect(abs(trainer.history[0].scores["mae"]! - absolute) < 1e-6)
  }

  @Test func aPenaltyIsMinimizedButNotRecorded() throws {
    let (weight, factor, rate): ([Float], Double, Double) = ([0.5, -0.25], 0.3, 0.1)
    func trained(_ factor: Double) throws -> (weight: [Double], loss: Double) {
      let network = try LinearNetwork([weight], penalty: factor)
      let trainer = try trainer(network, images(measured)) { $0.learningRate = rate }
      try trainer.run()
      return (try network.linear.weight.value.array(), trainer.history[0].loss)
    }
    let errors = zip(Self.points, Self.numbers).map { Double($0[0] * weight[0] + $0[1] * weight[1] - $1) }
    let plain = (0..<2).map { axis in
      let gradient = zip(errors, Self.points).reduce(0) { $0 + 2 * $1.0 * Double($1.1[axis]) } / 6
      return Double(weight[axis]) - rate * gradient
    }
    let shrunk = (0..<2).map { plain[$0] - rate * 2 * factor * Double(weight[$0]) }
    let (without, with) = (try trained(0), try trained(factor))
    #expect(relativeError(without.weight, plain) < 1e-6)
    #expect(relativeError(with.weight, shrunk) < 1e-6)
    #expect(with.loss == without.loss)
  }

  @Test func aNetworkThatSaysOneClassHasCollapsed() throws {
    let evaluation = try trainer(LinearNetwork([[0, 0], [0, 0], [0, 0]]), images(classified)).evaluate()
    #expect(evaluation.collapsedToClass == 0)
    #expect(abs(evaluation.loss - log(3)) < 1e-6)
  }

  // MARK: - Batches

  @Test(arguments: [(5, 2, 4), (6, 2, 6), (5, 1, 5), (5, 4, 4), (1, 2, 1), (5, 3, 5)])
  func aLastBatchOfOneImageIsLeftOut(images count: Int, batch: Int, used: Int) throws {
    let trainer = try trainer(LinearNetwork([[1, 1]]), images(measured, count: count), batch: batch)
    #expect(trainer.task.samplesPerEpoch == used)
    try trainer.run()
    #expect(trainer.stepMilliseconds.count == (used + batch - 1) / batch)
  }

  /// Which would be an error with a batch of one.
  @Test func normsOverSamplesTrainOnSuchData() throws {
    var options = MNISTDense.Options()
    (options.height, options.width, options.hidden, options.classes) = (1, 2, [4], 3)
    let trainer = try trainer(
      MNISTDense(options, generator: Generator(seed: 0)), images(classified, count: 5), images(classified), batch: 2)
    try trainer.run()
    #expect(trainer.history.count == 1)
    // Another one is left out in every epoch.
    var seen: Set<Int> = []
    for epoch in 0..<8 {
      let plan = BatchPlan(samples: trainer.task.samplesPerEpoch, batchSize: trainer.task.batchSize)
      let loader = try trainer.task.batches(epoch: epoch, plan)
      while let batch = try loader.next() { seen.formUnion(batch.indices) }
    }
    #expect(seen.count == 5)
  }

  // MARK: - Going on

  /// With everything that a checkpoint has to keep: dropout, shifts, running statistics, attention, a penalty.
  @Test(arguments: [2, 5]) func goesOnBitForBit(steps: Int) throws {
    let folder = try TemporaryFolder()
    let parts = try SyntheticFlow(count: 40, seed: 3).make().split(validation: 0.3)
    func make() throws -> ImageTrainer {
      Runtime.threads = 1
      var network = MeanSpotter.Options()
      (network.attention, network.reduction) = (.cbam, 1)
      var options = TrainingOptions()
      (options.epochs, options.keepsBest) = (3, true)
      let generator = try Generator(seed: 4)
      return try ImageTrainer(
        task: ImageTask(
          model: MeanSpotter(network, generator: generator), training: parts.training, validation: parts.validation,
          sampling: ImageSampling(batchSize: 8, seed: 4, augmentation: ImageAugmentation(shift: 2)),
          standardization: Standardization(of: parts.training)), options: options, generators: [generator])
    }
    let whole = try make()
    try whole.run()
    let expected = try TrainingResult(whole)
    #expect(expected.steps == 12)
    let (result, pieces) = try interrupted(every: steps, at: folder.path("c"), make)
    #expect(result == expected)
    #expect(pieces > 2)
  }

  @Test func aCheckpointOfOtherImagesIsRefused() throws {
    let folder = try TemporaryFolder()
    let first = try trainer(LinearNetwork([[1, 1]]), images(measured))
    try first.run(checkpoints: CheckpointPlan { try first.writeCheckpoint(to: folder.path("c")) })
    let other = try trainer(LinearNetwork([[1, 1]]), images(measured, count: 5))
    let error = #expect(throws: TrainingError.self) { try other.restore(from: SafetensorsReader(folder.path("c"))) }
    #expect(error?.description.contains("samples-per-epoch 6 there, 5 now") == true, "\(error?.description ?? "")")
  }

  // MARK: - What does not fit

  @Test func aNetworkOfAnotherShapeIsNamed() throws {
    let three: [[Float]] = [[1, 1], [1, 1], [1, 1]]
    for (network, data, says) in [
      (try LinearNetwork([[1, 1], [1, 1]]), try images(classified), "[N, 3] for points, but gives [6, 2]"),
      (try LinearNetwork(three), try images(measured), "[N, 1] for points, but gives [6, 3]"),
    ] {
      let trainer = try trainer(network, data)
      let errors = [
        #expect(throws: TrainingError.self) { try trainer.run() },
        #expect(throws: TrainingError.self) { _ = try trainer.evaluate() },
      ]
      for error in errors { #expect(error?.description.contains(says) == true, "\(error?.description ?? "")") }
    }
  }

  @Test func datasetsThatDoNotFitAreNamed() throws {
    let wide = try ImageDataset(
      name: "wide", channels: 1, height: 1, width: 3, pixels: .reals([1, 2, 3]), targets: .values([1], name: "score"))
    for (validation, says) in [
      (wide, "[1, 1, 2] and of wide [1, 1, 3]"), (try images(classified), "with 0 and 3 classes"),
    ] {
      let error = #expect(throws: TrainingError.self) {
        _ = try trainer(LinearNetwork([[1, 1]]), images(measured), validation)
      }
      #expect(error?.description.contains(says) == true, "\(error?.description ?? "")")
    }
    #expect(throws: DataError.self) { _ = try trainer(LinearNetwork([[1, 1]]), images(measured), batch: 0) }
  }

  /// The probe's batch trained nothing and depends on the data alone.
  @Test func theProbeTrainsNothing() throws {
    let network = try LinearNetwork([[0.5, -0.25]])
    let trainer = try trainer(network, images(measured), batch: 4)
    let probe = try trainer.task.probeBatch()
    #expect(probe.count == 4 && Set(probe.indices).count == 4)
    #expect(try trainer.task.probeBatch() == probe)
    let before = try network.linear.weight.value.array(of: Float.self)
    _ = try trainer.probe().measure(epoch: 1, learningRate: 0.1)
    #expect(try network.linear.weight.value.array(of: Float.self) == before)
  }
}
