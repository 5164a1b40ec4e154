import Foundation
import NormaData
import NormaModels
import NormaNN
import NormaNormalization
import NormaRecords
import NormaTensor
import NormaTraining
import TestSupport
import Testing

@Suite struct TrainingProbeTests {
  // MARK: - A training goes on as without

  /// Numbers of a model's state, bit by bit.
  private func bits(_ model: Module) throws -> [[UInt64]] {
    try model.stateDictionary().map { try $0.value.array(of: Double.self).map(\.bitPattern) }
  }

  @Test(arguments: [
    "none", "batch", "batch:renorm", "batch:ghost=1", "switchable", "switchable:sparse", "evo-b0", "group:2",
  ])
  func aTrainingIsTheSameWithAndWithout(_ name: String) throws {
    Runtime.threads = 1
    let (images, labels) = SyntheticEM(width: 48, height: 48, slices: 3, seed: 1).make()
    let data = try SegmentationDataset(images: images, labels: labels, name: "synthetic").split(validationSlices: 1)
    func train(probing: Bool) throws -> (history: [EpochRecord], state: [[UInt64]], diagnoses: [DiagnosisRecord]) {
      var network = UNet.Options()
      (network.width, network.depth, network.dropout) = (4, 2, 0.5)
      network.normalization = try Normalization(parsing: name)
      let model = try UNet(network, generator: Generator(seed: 3))
      var options = SegmentationSetting(loader: .init(crop: 16, batchSize: 2, samplesPerEpoch: 6, seed: 0))
      options.epochs = 3
      options.schedule = .cosine
      let trainer = try SegmentationTrainer(model, data, options)
      let probe = probing ? try trainer.probe() : nil
      var diagnoses: [DiagnosisRecord] = []
      try trainer.run(onEpoch: { epoch in
        if let probe {
          diagnoses.append(try probe.measure(epoch: epoch.epoch, learningRate: epoch.learningRate))
        }
      })
      let history = trainer.history.map {
        var record = $0
        (record.seconds, record.validationSeconds, record.dataWaitSeconds) = (0, 0, 0)
        return record
      }
      return (history, try bits(model), diagnoses)
    }
    let (plain, probed) = (try train(probing: false), try train(probing: true))
    #expect(plain.history == probed.history)
    #expect(plain.state == probed.state)

    let found = probed.diagnoses
    #expect(found.map(\.epoch) == [1, 2, 3])
    let layers = [
      "encoder.0.conv1", "encoder.0.conv2", "encoder.1.conv1", "encoder.1.conv2", "bottom.conv1", "bottom.conv2",
      "decoder.0.up", "decoder.0.level.conv1", "decoder.0.level.conv2", "decoder.1.up", "decoder.1.level.conv1",
      "decoder.1.level.conv2",
    ]
    for (record, epoch) in zip(found, probed.history) {
      #expect(record.seconds > 0)
      #expect(record.inputs.map(\.layer) == layers)
      #expect(record.rectifiers.map(\.layer) == (name == "evo-b0" ? [] : layers) + ["head.relu"])
      #expect(record.rectifiers.last?.channels == 2 && record.rectifiers.last?.valuesPerChannel == 512)
      #expect(record.gradients.map(\.layer) == layers.map { "\($0).conv" } + ["head.conv1", "head.conv2"])
      #expect(record.surface.learningRate == epoch.learningRate)
      for input in record.inputs {
        #expect(input.variance > 0)
        #expect((input.meanDrift == nil) == (record.epoch == 1) && (input.varianceDrift == nil) == (record.epoch == 1))
        // A sparse mix may have left the batch out.
        guard name != "switchable:sparse" else { continue }
        let tracks = ["batch", "switchable", "evo-b0"].contains { name.hasPrefix($0) }
        #expect((input.varianceGap != nil) == tracks && (input.meanGap != nil) == (tracks && name != "evo-b0"))
      }
    }
    #expect(found[0].surface.loss != found[1].surface.loss)
  }

  @Test func theProbesSamplesAreTheSameForAllSeeds() throws {
    let (images, labels) = SyntheticEM(width: 48, height: 48, slices: 3, seed: 1).make()
    let data = try SegmentationDataset(images: images, labels: labels, name: "synthetic").split(validationSlices: 1)
    func loss(seed: UInt64) throws -> Double {
      var network = UNet.Options()
      (network.width, network.depth) = (2, 1)
      var options = SegmentationSetting(loader: .init(crop: 16, batchSize: 2, samplesPerEpoch: 6, seed: seed))
      options.epochs = 1
      let trainer = try SegmentationTrainer(UNet(network, generator: Generator(seed: 3)), data, options)
      return try trainer.probe().measure(epoch: 1, learningRate: 1).surface.loss
    }
    #expect(try loss(seed: 0) == loss(seed: 1))
  }

  @Test func nothingChangesEvenAfterAnError() throws {
    struct Failure: Error {}
    let generator = try Generator(seed: 1)
    let network = Sequential([
      try Convolution(inputChannels: 1, outputChannels: 3, kernel: [3, 3], generator: generator),
      try SwitchableNorm(channels: 3), ActivationLayer(.relu), try Dropout(probability: 0.5, generator: generator),
      try Convolution(inputChannels: 3, outputChannels: 1, kernel: [1, 1], generator: generator),
    ])
    let x = try Tensor.normal([2, 1, 6, 6], generator: generator)
    try network(x).squared().mean().backward()
    // A mixture of modes, and a weight that is not trained.
    network.layers[1].evaluate()
    try (network.layers[4] as? Convolution)?.weight.freeze()
    func everything() throws -> [[UInt64]] {
      let gradients: [[Double]] = try network.parameters.map { try $0.gradient?.array() ?? [] }
      return try bits(network) + gradients.map { $0.map(\.bitPattern) }
        + [network.namedModules().map { $0.module.isTraining ? 1 : 0 }]
        + [generator.state().array(of: Double.self).map(\.bitPattern)]
    }
    let before = try everything()
    // The passes: one to look at layers, one in evaluation, one for the gradient, four along it.
    for failing in Array(1...7) + [Int.max] {
      var calls = 0
      let probe = TrainingProbe(model: network) {
        calls += 1
        if calls == failing { throw Failure() }
        return try network(x).squared().mean()
      }
      if failing == Int.max {
        let record = try probe.measure(epoch: 1, learningRate: 0.5)
        #expect(calls == 7)
        #expect(record.gradients.map(\.layer) == ["layers.0"], "the frozen weight has no gradient")
        #expect(record.surface.losses != Array(repeating: record.surface.loss, count: 4), "the steps are steps")
      } else {
        #expect(throws: Failure.self) { try probe.measure(epoch: 1, learningRate: 0.5) }
      }
      #expect(try everything() == before)
    }
  }

  // MARK: - Numbers

  /// Convolution 1×1 of 2 to 3 channels, batch normalization, ReLU, convolution 1×1 to 1, and the mean square of what it
  /// gives, in plain Double arithmetic.
  private struct Reference {
    var parameters: [Double]
    /// Rows [positions][2].
    let x: [[Double]]
    static let epsilon = 1e-5

    var convolved: [[Double]] {
      x.map { row in
        (0..<3).map { c in parameters[2 * c] * row[0] + parameters[2 * c + 1] * row[1] + parameters[6 + c] }
      }
    }

    var moments: (mean: [Double], variance: [Double]) {
      let (rows, count) = (convolved, Double(x.count))
      let mean = (0..<3).map { c in rows.reduce(0) { $0 + $1[c] } / count }
      return (mean, (0..<3).map { c in rows.reduce(0) { $0 + ($1[c] - mean[c]) * ($1[c] - mean[c]) } / count })
    }

    var rectified: [[Double]] { rectified(moments) }

    private func rectified(_ moments: (mean: [Double], variance: [Double])) -> [[Double]] {
      let (mean, variance) = moments
      return convolved.map { row in
        (0..<3).map { c in
          let y =
            parameters[9 + c] * (row[c] - mean[c]) / (variance[c] + Self.epsilon).squareRoot() + parameters[12 + c]
          return max(0, y)
        }
      }
    }

    var loss: Double { loss(moments) }

    func loss(_ moments: (mean: [Double], variance: [Double])) -> Double {
      let outputs = rectified(moments).map { row in
        (0..<3).reduce(parameters[18]) { $0 + parameters[15 + $1] * row[$1] }
      }
      return outputs.reduce(0) { $0 + $1 * $1 } / Double(x.count)
    }

    var gradient: [Double] {
      numericalGradient(at: parameters, step: 1e-6) {
        var other = self
        other.parameters = $0
        return other.loss
      }
    }

    func moved(_ gradient: [Double], by step: Double) -> Reference {
      Reference(parameters: zip(parameters, gradient).map { $0 - step * $1 }, x: x)
    }
  }

  private func length(_ values: some Sequence<Double>) -> Double { values.reduce(0) { $0 + $1 * $1 }.squareRoot() }

  /// |Δμ| / σ and |log of the ratio of variances|, means over the channels.
  private func distance(
    from old: (mean: [Double], variance: [Double]), to new: (mean: [Double], variance: [Double])
  ) -> (mean: Double, variance: Double) {
    var (means, variances) = (0.0, 0.0)
    for c in old.mean.indices {
      let (before, after): (Double, Double) = (old.variance[c] + 1e-5, new.variance[c] + 1e-5)
      means += abs(new.mean[c] - old.mean[c]) / before.squareRoot()
      variances += abs(log(after / before))
    }
    return (means / Double(old.mean.count), variances / Double(old.mean.count))
  }

  @Test func numbersAreThoseOfAnIndependentComputation() throws {
    var random = TestRandom(5)
    var reference = Reference(parameters: random.numbers(19), x: (0..<12).map { _ in random.numbers(2) })
    // A dead channel.
    reference.parameters[10] = 0
    reference.parameters[13] = -1
    let conv = try Convolution(inputChannels: 2, outputChannels: 3, kernel: [1, 1])
    let norm = try BatchNorm(channels: 3)
    let last = try Convolution(inputChannels: 3, outputChannels: 1, kernel: [1, 1])
    let network = Sequential([conv, norm, ActivationLayer(.relu), last])
    try network.to(dtype: .float64)
    func load(_ numbers: [Double]) throws {
      var start = 0
      for parameter in network.parameters {
        let count = parameter.value.count
        try withoutGradients {
          try parameter.value.copy(
            from: Tensor(Array(numbers[start..<start + count]), shape: parameter.value.shape))
        }
        start += count
      }
      #expect(start == numbers.count)
    }
    let (runningMean, runningVariance) = ([0.25, -1, 0.5], [2, 0.5, 1.25])
    try norm.runningMean?.value.copy(from: Tensor(runningMean))
    try norm.runningVar?.value.copy(from: Tensor(runningVariance))
    // [N, C, H, W] = [2, 2, 2, 3].
    let planes = (0..<2).flatMap { n in (0..<2).flatMap { c in (0..<6).map { reference.x[6 * n + $0][c] } } }
    let x = try Tensor(planes, shape: [2, 2, 2, 3])
    let probe = TrainingProbe(model: network) { try network(x).squared().mean() }
    func close(_ a: Double?, _ b: Double, _ tolerance: Double = 1e-12) -> Bool {
      a.map { abs($0 - b) <= tolerance * max(1, abs(b)) } ?? false
    }

    try load(reference.parameters)
    let rate = 0.3
    let record = try probe.measure(epoch: 1, learningRate: rate)
    let (mean, variance) = reference.moments
    let input = try #require(record.inputs.first)
    #expect(record.inputs.count == 1 && input.layer == "layers.1")
    let all = reference.convolved.flatMap { $0 }
    let overall = all.reduce(0, +) / 36
    #expect(close(input.mean, overall))
    #expect(close(input.variance, all.reduce(0) { $0 + ($1 - overall) * ($1 - overall) } / 36))
    #expect(input.meanDrift == nil && input.varianceDrift == nil)
    // Running variances are unbiased: 12 values per channel.
    let gap = distance(from: (runningMean, runningVariance), to: (mean, variance.map { $0 * 12 / 11 }))
    #expect(close(input.meanGap, gap.mean))
    #expect(close(input.varianceGap, gap.variance))

    #expect(close(record.evaluationLoss, reference.loss((runningMean, runningVariance))))
    #expect(abs(record.evaluationLoss - reference.loss) > 0.1)

    let rectified = reference.rectified
    let zeros = rectified.flatMap { $0 }.count { $0 == 0 }
    #expect(zeros > 12 && zeros < 36)
    let dead = (0..<3).count { c in rectified.allSatisfy { $0[c] == 0 } }
    #expect(
      record.rectifiers == [
        RectifierRecord(
          layer: "layers.2", channels: 3, valuesPerChannel: 12, deadChannels: dead, zeroShare: Double(zeros) / 36)
      ])
    #expect(dead >= 1)

    // Central differences have about ten digits here.
    let gradient = reference.gradient
    #expect(record.gradients.map(\.layer) == ["layers.0", "layers.3"])
    for (found, range) in zip(record.gradients, [0..<6, 15..<18]) {
      #expect(close(found.norm, length(gradient[range]), 1e-7))
      #expect(close(found.weightNorm, length(reference.parameters[range])))
    }
    #expect(close(record.gradientRatio, length(gradient[0..<6]) / length(gradient[15..<18]), 1e-6))
    let surface = record.surface
    #expect(close(surface.loss, reference.loss))
    #expect(close(surface.gradientNorm, length(gradient), 1e-7))
    #expect(surface.steps == [0.5, 1, 2, 4] && surface.learningRate == rate)
    for (step, loss) in zip(surface.steps, surface.losses) {
      #expect(close(loss, reference.moved(gradient, by: step * rate).loss, 1e-6))
    }
    let there = reference.moved(gradient, by: rate).gradient
    let change = length(zip(there, gradient).map { $0 - $1 })
    #expect(change > 0.01)
    #expect(close(surface.smoothness, change / (rate * length(gradient)), 1e-5))

    // Drift: what is there now, in the deviations of before.
    let later = Reference(parameters: reference.parameters.map { 1.5 * $0 + 0.1 }, x: reference.x)
    try load(later.parameters)
    let moved = try #require(try probe.measure(epoch: 2, learningRate: rate).inputs.first)
    let now = later.moments
    let drift = distance(from: (mean, variance), to: now)
    #expect(close(moved.meanDrift, drift.mean))
    #expect(close(moved.varianceDrift, drift.variance))
    let still = try #require(try probe.measure(epoch: 3, learningRate: rate).inputs.first)
    #expect(still.meanDrift == 0 && still.varianceDrift == 0)
  }

  @Test func aLayerWithoutGradientHasNone() throws {
    let conv = try Convolution(inputChannels: 1, outputChannels: 1, kernel: [1, 1])
    let unused = try Convolution(inputChannels: 1, outputChannels: 1, kernel: [1, 1])
    final class Network: Module {
      let conv: Convolution
      let unused: Convolution
      init(_ conv: Convolution, _ unused: Convolution) { (self.conv, self.unused) = (conv, unused) }
    }
    let network = Network(conv, unused)
    let x = try Tensor.ones([1, 1, 2, 2])
    let record = try TrainingProbe(model: network) { try conv(x).mean() }.measure(epoch: 1, learningRate: 0.1)
    #expect(record.gradients.map(\.norm) == [1, 0])
    #expect(record.gradientRatio == nil, "nothing to divide by")
    #expect(abs(record.surface.gradientNorm - 2.0.squareRoot()) < 1e-12)
    #expect(record.surface.smoothness == 0, "the loss is a plane")
    #expect(record.inputs.isEmpty && record.rectifiers.isEmpty)
    // Along the gradient (1, 1) the loss falls by 2 η t.
    for (step, loss) in zip(record.surface.steps, record.surface.losses) {
      #expect(abs(loss - (record.surface.loss - 0.2 * step)) < 1e-5)
    }
    let still = try TrainingProbe(model: network) { try conv(x).mean() }.measure(epoch: 1, learningRate: 0)
    #expect(still.surface.smoothness == nil, "no step, no smoothness")
  }
}
