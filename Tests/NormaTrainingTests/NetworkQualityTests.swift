import NormaData
import NormaModels
import NormaNN
import NormaNormalization
import NormaRecords
import NormaTensor
import NormaTraining
import Testing

/// Networks for whole images learn what the made-up data show, far beyond what a constant prediction comes to. Small ones and few
/// images, so that each takes some seconds.
@Suite(.serialized) struct NetworkQualityTests {
  /// Trains and validates; the network has the weights of the best epoch then.
  private func trained(
    _ data: ImageDataset, epochs: Int, batch: Int, rate: Double = 1e-3, _ network: (Generator) throws -> any Layer
  ) throws -> ImageTask.Evaluation {
    Runtime.threads = 1
    let parts = try data.split(validation: 0.2)
    let generator = try Generator(seed: 0)
    var options = TrainingOptions()
    (options.epochs, options.learningRate, options.keepsBest) = (epochs, rate, true)
    let trainer = try ImageTrainer(
      task: ImageTask(
        model: network(generator), training: parts.training, validation: parts.validation,
        sampling: ImageSampling(batchSize: batch, seed: 0), standardization: Standardization(of: parts.training)),
      options: options, generators: [generator])
    try trainer.run()
    try trainer.restoreBest()
    return try trainer.evaluate()
  }

  /// Classes are equally frequent: a constant prediction is right for one in as many.
  private func expect(
    _ evaluation: ImageTask.Evaluation, accuracy: Double, classes: Int,
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    let reached = evaluation.scores[.accuracy] ?? 0
    #expect(reached >= accuracy, "constant: \(1 / Double(classes))", sourceLocation: sourceLocation)
    #expect(evaluation.collapsedToClass == nil, sourceLocation: sourceLocation)
  }

  @Test func alexnet() throws {
    let evaluation = try trained(SyntheticShapes(side: 24, count: 4000).make(), epochs: 6, batch: 16) {
      var options = AlexNet.Options()
      (options.classes, options.inputSize) = (SyntheticShapes.names.count, 24)
      (options.width, options.dropout) = (0.125, 0)
      return try AlexNet(options, generator: $0)
    }
    expect(evaluation, accuracy: 0.4, classes: 8)
  }

  @Test(arguments: [Normalization.batch, .layer]) func mnistDense(norm: Normalization) throws {
    let evaluation = try trained(SyntheticDigits(count: 2000).make(), epochs: 8, batch: 32) {
      var options = MNISTDense.Options()
      (options.hidden, options.normalization) = ([64], norm)
      return try MNISTDense(options, generator: $0)
    }
    expect(evaluation, accuracy: 0.8, classes: 10)
  }

  @Test(arguments: [Normalization.none, .layer]) func mnistLSTM(norm: Normalization) throws {
    let evaluation = try trained(SyntheticDigits(count: 1500).make(), epochs: 8, batch: 16, rate: 3e-3) {
      var options = MNISTLSTM.Options()
      (options.hidden, options.normalization) = (48, norm)
      return try MNISTLSTM(options, generator: $0)
    }
    expect(evaluation, accuracy: 0.8, classes: 10)
  }

  @Test(arguments: [MeanSpotter.Attention.none, .cbam])
  func meanSpot(attention: MeanSpotter.Attention) throws {
    let data = SyntheticFlow(count: 800).make()
    let evaluation = try trained(data, epochs: 15, batch: 8) {
      var options = MeanSpotter.Options()
      options.attention = attention
      return try MeanSpotter(options, generator: $0)
    }
    guard case .values(let values, _) = try data.split(validation: 0.2).validation.targets else { return }
    // The median, the best of all constant predictions.
    let median = values.sorted()[values.count / 2]
    let constant = Double(values.reduce(0) { $0 + abs($1 - median) }) / Double(values.count)
    let reached = try #require(evaluation.scores[.mae])
    #expect(reached <= 0.7 * constant, "constant: \(constant)")
  }
}
