import NormaNN
import NormaTensor
import TestSupport
import Testing

@testable import NormaNormalization

@Suite struct BatchNormTests {
  static func data(_ shape: [Int], seed: UInt64 = 1) throws -> Tensor {
    try Tensor.normal(shape, generator: Generator(seed: seed)).to(dtype: .float64)
  }

  @Test func maskedPositionsTakeNoPart() throws {
    let lengths = [5, 2, 4]
    let mask = try Tensor(lengths.flatMap { length in (0..<5).map { $0 < length ? 1.0 : 0 } }, shape: [3, 5])
    let layer = try BatchNorm(channels: 2)
    try layer.to(dtype: .float64)
    var random = TestRandom(3)
    try layer.weight!.value.copy(from: Tensor(random.numbers(2)))
    try layer.bias!.value.copy(from: Tensor(random.numbers(2)))
    let values = random.numbers(30)
    let x = try Tensor(values, shape: [3, 2, 5])
    let y: [Double] = try layer(x, mask: mask).array()
    // By hand: one channel's valid values.
    for c in 0..<2 {
      let places = (0..<3).flatMap { n in (0..<lengths[n]).map { (n * 2 + c) * 5 + $0 } }
      let (mean, variance) = ReferenceNormalization.meanAndVariance(places.map { values[$0] })
      let (gamma, beta): (Double, Double) = (
        try layer.weight!.value.array(of: Double.self)[c], try layer.bias!.value.array(of: Double.self)[c]
      )
      for place in places {
        #expect(abs(y[place] - (gamma * (values[place] - mean) / (variance + 1e-5).squareRoot() + beta)) < 1e-12)
      }
      #expect(abs(try layer.runningMean!.value.array(of: Double.self)[c] - 0.1 * mean) < 1e-12)
      for n in 0..<3 { for l in lengths[n]..<5 { #expect(y[(n * 2 + c) * 5 + l] == 0) } }
    }
    // What stands in the padding changes nothing, and gets no gradient.
    var other = values
    for n in 0..<3 { for c in 0..<2 { for l in lengths[n]..<5 { other[(n * 2 + c) * 5 + l] = 1e6 } } }
    let again = try Tensor(other, shape: [3, 2, 5]).requiringGradient()
    let z = try layer(again, mask: mask)
    #expect(try z.array() == y)
    try z.power(3).sum().backward()
    let gradient: [Double] = try #require(again.gradient).array()
    for n in 0..<3 { for l in lengths[n]..<5 { #expect(gradient[n * 10 + l] == 0) } }
    try GradientCheck.run(
      ["x": x, "weight": layer.weight!.value, "bias": layer.bias!.value], tolerance: 1e-6, random: &random
    ) { try layer(x, mask: mask) }
    #expect(throws: NormalizationError.self) { try layer(x, mask: Tensor.ones([3, 4])) }
    #expect(throws: NormalizationError.self) { try layer(x, mask: Tensor.zeros([3, 5])) }
  }

  @Test func frozenGivesWhatEvaluationGave() throws {
    let layer = try BatchNorm(channels: 3)
    try layer.to(dtype: .float64)
    for seed in UInt64(0)..<3 { _ = try layer(Self.data([4, 3, 5, 5], seed: seed) * 2 + 1) }
    try layer.weight!.value.copy(from: Tensor([0.5, 2, -1]))
    let frozen = try FrozenBatchNorm(layer)
    layer.evaluate()
    let x = try Self.data([2, 3, 4, 4]).requiringGradient()
    let expected: [Double] = try layer(x).array()
    frozen.train()
    #expect(try frozen(x).array() == expected)
    #expect(frozen.trainableCount == 0)
    #expect(Set(frozen.stateDictionary().map(\.key)) == ["weight", "bias", "running_mean", "running_var"])
    try frozen(x).sum().backward()
    #expect(frozen.weight?.gradient == nil)
    #expect(x.gradient != nil)
    #expect(try frozen(x).array() == expected, "training passes leave no trace")
    var untracked = BatchNorm.Options()
    untracked.tracksRunningStatistics = false
    let without = try BatchNorm(channels: 3, untracked)
    #expect(throws: NormalizationError.self) { try FrozenBatchNorm(without) }
  }

  /// Together the batches are one population; so the statistics must be those of all values at once.
  @Test func batchesWeighByTheirValues() throws {
    let norm = try BatchNorm(channels: 1)
    try norm.to(dtype: .float64)
    let batches = [try Tensor([Double](repeating: 0, count: 8), shape: [8, 1]), try Tensor([1.0, 3], shape: [2, 1])]
    try norm.reestimateStatistics(over: batches)
    // Ten values of mean 0.4: within the batches 0 and the unbiased 2, weighed 8 to 2; between them 0.64.
    #expect(abs(try norm.runningMean!.value.item() - 0.4) < 1e-12)
    #expect(abs(try norm.runningVar!.value.item() - (0.4 + 0.64)) < 1e-12)
  }

  @Test func reestimatedStatisticsAreThoseOfThePopulation() throws {
    let batches = try (0..<5).map { try Self.data([2, 3, 4, 4], seed: UInt64($0) + 10) * 3 + Double($0) }
    let whole = try Tensor.concatenate(batches, dimension: 0)
    let mean: [Double] = try whole.mean([0, 2, 3]).array()
    let dropout = try Dropout(probability: 0.5)
    let first = try BatchNorm(channels: 3)
    let network = Sequential([dropout, first])
    try network.to(dtype: .float64)
    network.evaluate()
    let before: [Double] = try first.runningMean!.value.array()
    struct Stop: Error {}
    #expect(throws: Stop.self) {
      try network.reestimateStatistics(over: batches) { batch in
        _ = try network(batch)
        throw Stop()
      }
    }
    #expect(try first.runningMean!.value.array() == before, "a failure leaves the statistics")
    #expect(!first.isTraining && !dropout.isTraining)
    #expect(try network.reestimateStatistics(over: batches) == 5)
    // Dropout was off, or the mean would be another.
    #expect(relativeError(try first.runningMean!.value.array(), mean) < 1e-12)
    let variance: [Double] = try whole.variance([0, 2, 3]).array()
    // Each batch's variance is made unbiased first (32 values), so that the sum is a little larger.
    let within = try batches.map { try $0.variance([0, 2, 3]).array(of: Double.self) }
    let expected = (0..<3).map { c in
      let average = within.reduce(0) { $0 + $1[c] } / 5
      return variance[c] - average + average * 32 / 31
    }
    #expect(relativeError(try first.runningVar!.value.array(), expected) < 1e-12)
    #expect(!first.isTraining && !dropout.isTraining)
  }

  @Test func reestimationReachesEvoNormAndSkipsNetworksWithoutStatistics() throws {
    let layer = try EvoNorm(channels: 3, form: .b0(momentum: 0.1))
    try layer.to(dtype: .float64)
    let batches = try (0..<3).map { try Self.data([2, 3, 4, 4], seed: UInt64($0)) + Double($0) }
    #expect(try Sequential([layer]).reestimateStatistics(over: batches) == 3)
    let within = try batches.map { try $0.variance([0, 2, 3]).array(of: Double.self) }
    let means = try batches.map { try $0.mean([0, 2, 3]).array(of: Double.self) }
    let expected = (0..<3).map { c in
      within.reduce(0) { $0 + $1[c] } / 3 * 32 / 31 + ReferenceNormalization.meanAndVariance(means.map { $0[c] }).1
    }
    #expect(relativeError(try layer.runningVar!.value.array(), expected) < 1e-12)
    var ran = false
    #expect(try LayerNorm(channels: 3).reestimateStatistics(over: batches) { _ in ran = true } == 0)
    #expect(!ran)
  }

  @Test func foldsIntoALinearLayer() throws {
    let linear = try Linear(inputs: 5, outputs: 3, generator: Generator(seed: 1))
    let norm = try BatchNorm(channels: 3)
    let network = Sequential([linear, norm])
    try network.to(dtype: .float64)
    _ = try network(Self.data([20, 5]) * 2 + 1)
    try norm.weight!.value.copy(from: Tensor([0.5, 2, -1]))
    network.evaluate()
    let x = try Self.data([4, 5], seed: 3)
    #expect(relativeError(try norm.folded(into: linear)(x).array(), try network(x).array()) < 1e-12)
    #expect(throws: NormalizationError.self) { try BatchNorm(channels: 4).folded(into: linear) }
  }

  @Test func renormalizationFollowsItsSchedule() {
    let schedule = BatchNorm.RenormalizationSchedule()
    #expect(schedule.bounds(step: 4999) == (rMax: 1, dMax: 0))
    #expect(schedule.bounds(step: 25_000) == (rMax: 1 + 2 * 20.0 / 35, dMax: 5))
    #expect(schedule.bounds(step: 100_000) == (rMax: 3, dMax: 5))
  }

  /// With r and d held at the values of the point, as the paper's backward pass has them.
  @Test func renormalizationDifferentiatesWithConstantCorrections() throws {
    var options = BatchNorm.Options()
    options.momentum = 0
    options.renormalization = .init()
    options.renormalization!.warmUp = 0
    options.renormalization!.rWidening = 0
    options.renormalization!.dWidening = 0
    let layer = try BatchNorm(channels: 3, options)
    try layer.to(dtype: .float64)
    var random = TestRandom(5)
    try layer.runningMean!.value.copy(from: Tensor([0.3, -0.2, 5]))
    try layer.runningVar!.value.copy(from: Tensor([2.0, 0.5, 100]))
    try layer.weight!.value.copy(from: Tensor(random.numbers(3)))
    let x = try Tensor(random.numbers(36), shape: [2, 3, 2, 3]).requiringGradient()
    let cotangent = random.numbers(36)
    try layer(x).backward(Tensor(cotangent, shape: x.shape))
    func reference(_ values: [Double], _ at: [Double]) throws -> [Double] {
      func statistics(_ values: [Double], _ c: Int) -> (Double, Double) {
        var set: [Double] = []
        for n in 0..<2 {
          let start = (n * 3 + c) * 6
          set += values[start..<start + 6]
        }
        let (mean, variance) = ReferenceNormalization.meanAndVariance(set)
        return (mean, (variance + 1e-5).squareRoot())
      }
      let (means, variances) = ([0.3, -0.2, 5], [2.0, 0.5, 100])
      let gamma: [Double] = try layer.weight!.value.array()
      var y = values
      for c in 0..<3 {
        let (mean0, sigma0) = statistics(at, c)
        let running = (variances[c] + 1e-5).squareRoot()
        let (r, d) = (min(max(sigma0 / running, 1 / 3.0), 3), min(max((mean0 - means[c]) / running, -5), 5))
        let (mean, sigma) = statistics(values, c)
        for n in 0..<2 {
          for i in (n * 3 + c) * 6..<(n * 3 + c + 1) * 6 { y[i] = gamma[c] * (r * (values[i] - mean) / sigma + d) }
        }
      }
      return y
    }
    let values: [Double] = try x.array()
    #expect(relativeError(try layer(x).array(), try reference(values, values)) < 1e-12)
    let expected = try numericalGradient(at: values) { dot(cotangent, try reference($0, values)) }
    #expect(relativeError(try #require(x.gradient).array(), expected) < 1e-7)
  }

  @Test func contradictionsAreRefused() throws {
    for change: (inout BatchNorm.Options) -> Void in [
      { $0.ghostBatchSize = 0 }, { $0.momentum = 1.5 },
      {
        $0.renormalization = .init()
        $0.ghostBatchSize = 2
      },
      {
        $0.renormalization = .init()
        $0.tracksRunningStatistics = false
      },
      {
        $0.renormalization = .init()
        $0.renormalization!.rMax = 0.5
      },
    ] {
      var options = BatchNorm.Options()
      change(&options)
      #expect(throws: NormalizationError.self) { try BatchNorm(channels: 4, options) }
    }
  }

  @Test func scaleAndCenterAreSwitchable() throws {
    var options = BatchNorm.Options()
    options.scale = false
    #expect(try BatchNorm(channels: 4, options).namedParameters().map(\.key) == ["bias"])
    options.scale = true
    options.center = false
    #expect(try BatchNorm(channels: 4, options).namedParameters().map(\.key) == ["weight"])
  }
}
