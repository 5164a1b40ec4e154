import Foundation
import NormaNN
import NormaTensor
import TestSupport
import Testing

@Suite struct LayerTests {
  @Test(arguments: [[3], [2, 3], [2, 2, 3]]) func linear(shape: [Int]) throws {
    var random = TestRandom(1)
    let layer = try Linear(inputs: 3, outputs: 2)
    try randomize(layer, &random)
    let x = NDArray.random(shape, &random)
    let (w, b) = (try layer.weight.value.doubles, try #require(layer.bias).value.doubles)
    var y = NDArray(shape: shape.dropLast() + [2])
    for index in NDArray.indices(of: y.shape) {
      let o = index.last!
      y[index] = b[o] + (0..<3).reduce(0) { $0 + x[index.dropLast() + [$1]] * w[3 * o + $1] }
    }
    try expect(layer(Tensor(x)), y)
    try checkGradients(layer, x, &random)
    let plain = try Linear(inputs: 3, outputs: 2, bias: false, initializer: .constant(2))
    #expect(plain.bias == nil)
    #expect(try plain(Tensor.ones([3])).doubles == [6, 6])
  }

  @Test func embedding() throws {
    var random = TestRandom(2)
    let layer = try Embedding(entries: 4, features: 3)
    try randomize(layer, &random)
    let table = try layer.weight.value.doubles
    let indices = [3, 0, 3, 1]
    let y = try layer(Tensor(indices, shape: [2, 2]))
    #expect(y.shape == [2, 2, 3])
    #expect(try y.doubles == indices.flatMap { Array(table[3 * $0..<3 * $0 + 3]) })
    // A row's gradient is the sum over its uses.
    let g = random.numbers(12)
    try y.backward(Tensor(g, shape: [2, 2, 3]))
    var expected = [Double](repeating: 0, count: 12)
    for (place, row) in indices.enumerated() {
      for feature in 0..<3 { expected[3 * row + feature] += g[3 * place + feature] }
    }
    #expect(try relativeError(#require(layer.weight.gradient).doubles, expected) < 1e-14)
    for (index, type) in [(4, DType.int64), (-1, .int64), (4, .int32)] {
      #expect { try layer(Tensor([0, index]).to(dtype: type)) } throws: {
        "\($0)" == "Embedding: int64 or int32 indices from 0 to 3 were expected, got \(index)"
      }
    }
    #expect(throws: TensorError.self) { try layer(Tensor([1.0])) }
    #expect(try layer(Tensor.zeros([2, 0], dtype: .int64)).shape == [2, 0, 3])
  }

  @Test func paddingTakesNoGradient() throws {
    let layer = try Embedding(entries: 4, features: 3, paddingIndex: 2, generator: Generator(seed: 1))
    let table = try layer.weight.value.doubles
    #expect(table[6..<9].allSatisfy { $0 == 0 } && !(table[..<6] + table[9...]).contains(0))
    try layer(Tensor([2, 0, 2])).sum().backward()
    #expect(try #require(layer.weight.gradient).doubles == [1, 1, 1] + Array(repeating: 0, count: 9))
    for padding in [-1, 4] {
      #expect(throws: TensorError.self) { try Embedding(entries: 4, features: 3, paddingIndex: padding) }
    }
    #expect(throws: TensorError.self) { try Embedding(entries: 0, features: 3) }
  }

  @Test(arguments: [1, 2, 3]) func pools(dimensions: Int) throws {
    var random = TestRandom(3)
    let x = NDArray.random([2, 2] + [5, 4, 4].prefix(dimensions), &random)
    let kernel = Array([2, 3, 2].prefix(dimensions))
    let zeros = kernel.map { _ in 0 }
    let (ones, twos) = (kernel.map { _ in 1 }, kernel.map { _ in 2 })
    func mean(_ v: [Double]) -> Double { v.reduce(0, +) / Double(v.count) }
    try expect(
      MaxPool(kernel: kernel)(Tensor(x)),
      x.pooled(kernel: kernel, stride: kernel, padding: zeros, outside: nil) { $0.max()! })
    try expect(
      AveragePool(kernel: kernel)(Tensor(x)),
      x.pooled(kernel: kernel, stride: kernel, padding: zeros, outside: 0, mean))
    let largest = MaxPool(kernel: kernel, stride: twos, padding: ones)
    let average = AveragePool(kernel: kernel, stride: twos, padding: ones)
    try expect(
      largest(Tensor(x)), x.pooled(kernel: kernel, stride: twos, padding: ones, outside: nil) { $0.max()! })
    try expect(average(Tensor(x)), x.pooled(kernel: kernel, stride: twos, padding: ones, outside: 0, mean))
    try checkGradients(largest, x, &random)
    try checkGradients(average, x, &random)
  }

  @Test func upsampleAndFlatten() throws {
    var random = TestRandom(4)
    let x = NDArray.random([1, 2, 2, 3], &random)
    var y = NDArray(shape: [1, 2, 4, 6])
    for index in NDArray.indices(of: y.shape) {
      y[index] = x[[index[0], index[1], index[2] / 2, index[3] / 2]]
    }
    try expect(Upsample()(Tensor(x)), y)
    #expect(try Upsample(factor: 3)(Tensor(x)).shape == [1, 2, 6, 9])
    try checkGradients(Upsample(), x, &random)
    try expect(Flatten()(Tensor(x)), NDArray(shape: [1, 12], values: x.values))
    try checkGradients(Flatten(), x, &random)
  }

  @Test func activations() throws {
    let v = [-2.0, -0.5, 0.25, 3]
    func sigmoid(_ x: Double) -> Double { 1 / (1 + exp(-x)) }
    let formulas: [(Activation, (Double) -> Double)] = [
      (.none, { $0 }), (.relu, { max(0, $0) }), (.leakyReLU(slope: 0.3), { $0 < 0 ? 0.3 * $0 : $0 }),
      (.sigmoid, sigmoid), (.tanh, { tanh($0) }), (.silu, { $0 * sigmoid($0) }),
      (.gelu, { 0.5 * $0 * (1 + erf($0 / 2.0.squareRoot())) }),
    ]
    var random = TestRandom(5)
    for (activation, formula) in formulas {
      let expected = NDArray(shape: [4], values: v.map(formula))
      try expect(activation(Tensor(v)), expected)
      try expect(activation.consuming(Tensor(v)), expected)
      try checkGradients(ActivationLayer(activation), NDArray(shape: [4], values: v), &random)
    }
    let x = try Tensor(v)
    let y = try Activation.relu.consuming(x)
    #expect(try x.doubles == y.doubles, "ReLU writes over its input")
  }

  @Test func sequence() throws {
    let layers = Sequential([ActivationLayer(.relu), Flatten()])
    #expect(try layers(Tensor([-1.0, 2], shape: [1, 1, 2])).doubles == [0, 2])
    #expect(try Sequential([])(Tensor([-1.0])).doubles == [-1])
  }
}

@Suite struct DropoutTests {
  @Test(arguments: [0.2, 0.5, 0.9]) func shareAndScale(probability: Double) throws {
    let layer = try Dropout(probability: probability, generator: Generator(seed: 1))
    let count = 40_000
    let y = try layer(Tensor.full([count], 3, dtype: .float64)).doubles
    let kept = y.filter { $0 != 0 }
    #expect(kept.allSatisfy { abs($0 - 3 / (1 - probability)) < 1e-9 })
    let share = Double(count - kept.count) / Double(count)
    // Five standard deviations of a share.
    #expect(abs(share - probability) < 5 * (probability * (1 - probability) / Double(count)).squareRoot())
  }

  @Test func identityInEvaluationAndWithoutProbability() throws {
    let x = try Tensor([1.0, 2, 3, 4, 5, 6, 7, 8])
    let layer = try Dropout(probability: 0.5, generator: Generator(seed: 1))
    layer.evaluate()
    #expect(try layer(x).doubles == x.doubles)
    layer.train()
    #expect(try layer(x).doubles != x.doubles)
    #expect(try Dropout(probability: 0)(x).doubles == x.doubles)
    for probability in [-0.1, 1, .nan] {
      #expect(throws: TensorError.self) { try Dropout(probability: probability) }
    }
  }

  @Test func seededAndFreshEveryTime() throws {
    func masks(_ seed: UInt64) throws -> [[Double]] {
      let layer = try Dropout(probability: 0.5, generator: Generator(seed: seed))
      return try (0..<2).map { _ in try layer(Tensor.ones([64])).doubles }
    }
    let first = try masks(1)
    #expect(try masks(1) == first)
    #expect(try masks(2) != first)
    #expect(first[0] != first[1])
  }

  /// The gradient passes where the input did, with the same factor, and the layout is the input's.
  @Test func gradientIsTheMask() throws {
    let layer = try Dropout(probability: 0.5, generator: Generator(seed: 3))
    let x = try Tensor.ones([2, 3, 4, 4], dtype: .float64).contiguous(.channelsLast).requiringGradient()
    let y = try layer(x)
    #expect(y.isContiguous(.channelsLast))
    try y.sum().backward()
    #expect(try #require(x.gradient).doubles == y.doubles)
    let half = try layer(Tensor.ones([64], dtype: .bfloat16))
    #expect(half.dtype == .bfloat16)
    #expect(try Set(half.doubles) == [0, 2])
  }
}

@Suite struct InitializerTests {
  struct Case: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let initializer: Initializer
    let shape: [Int]
    let variance: Double
    /// Largest magnitude of a uniform distribution: √3 standard deviations.
    var isUniform = false

    static let all: [Case] = [
      // Fan-in 20 · 9, fan-out 40 · 9.
      .init(
        testDescription: "He normal", initializer: .heNormal, shape: [40, 20, 3, 3], variance: 2.0 / 180),
      .init(
        testDescription: "He normal, matrix", initializer: .heNormal, shape: [60, 80], variance: 2.0 / 80),
      .init(
        testDescription: "He uniform", initializer: .heUniform, shape: [40, 20, 3, 3], variance: 2.0 / 180,
        isUniform: true),
      .init(
        testDescription: "Glorot", initializer: .glorotUniform, shape: [40, 20, 3, 3], variance: 2.0 / 540,
        isUniform: true),
      .init(
        testDescription: "normal", initializer: .normal(standardDeviation: 0.3), shape: [5000], variance: 0.09
      ),
    ]
  }

  @Test(arguments: Case.all) func variances(_ item: Case) throws {
    let values = try item.initializer.tensor(item.shape, generator: Generator(seed: 1)).doubles
    let count = Double(values.count)
    let mean = values.reduce(0, +) / count
    let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / count
    // Five standard errors: the variance of a normal sample's variance is 2 σ⁴ / n.
    #expect(abs(mean) < 5 * (item.variance / count).squareRoot())
    #expect(abs(variance / item.variance - 1) < 5 * (2 / count).squareRoot())
    let bound = (3 * item.variance).squareRoot()
    let largest = values.map(abs).max()!
    if item.isUniform {
      #expect(largest <= bound * 1.000001 && largest > 0.98 * bound)
    } else {
      #expect(largest > 1.2 * bound, "a normal distribution has tails")
    }
  }

  @Test func constantsAndSeeds() throws {
    #expect(try Initializer.constant(0.5).tensor([2, 2]).doubles == [0.5, 0.5, 0.5, 0.5])
    func draw(_ seed: UInt64) throws -> [Double] {
      try Initializer.heNormal.tensor([9], generator: Generator(seed: seed)).doubles
    }
    #expect(try draw(1) == draw(1))
    #expect(try draw(1) != draw(2))
    #expect(try Initializer.heNormal.tensor([4, 4]).dtype == .float32)
  }
}

/// Two samples of 2 × 2 pixels, for two classes (one logit) and for three.
@Suite struct LossesTests {
  struct Case: Sendable, CustomTestStringConvertible {
    let classes: Int
    let weighted: Bool
    var testDescription: String { "\(classes) classes\(weighted ? ", weighted" : "")" }
    static let all = [2, 3].flatMap { classes in [false, true].map { Case(classes: classes, weighted: $0) } }

    var channels: Int { classes == 2 ? 1 : classes }
    let weights = [1.0, 0, 2, 0.5, 3, 1, 0, 4]
    var labels: [Int] { classes == 2 ? [0, 1, 1, 0, 1, 1, 0, 0] : [0, 2, 1, 1, 2, 0, 0, 2] }

    /// Probabilities [pixel][class].
    func probabilities(_ x: [Double]) -> [[Double]] {
      (0..<8).map { pixel in
        let (n, p) = (pixel / 4, pixel % 4)
        if classes == 2 {
          let one = 1 / (1 + exp(-x[4 * n + p]))
          return [1 - one, one]
        }
        let powers = (0..<3).map { exp(x[(n * 3 + $0) * 4 + p]) }
        return powers.map { $0 / powers.reduce(0, +) }
      }
    }

    var weight: [Double] { weighted ? weights : weights.map { _ in 1 } }

    func crossEntropy(_ x: [Double]) -> Double {
      let p = probabilities(x)
      let losses = (0..<8).map { -log(p[$0][labels[$0]]) }
      return dot(weight, losses) / weight.reduce(0, +)
    }

    func dice(_ x: [Double]) -> Double {
      let p = probabilities(x)
      let used = classes == 2 ? [1] : [0, 1, 2]
      let scores = used.map { k -> Double in
        let truth = labels.map { $0 == k ? 1.0 : 0 }
        let predicted = p.map { $0[k] }
        let overlap = (0..<8).reduce(0) { $0 + weight[$1] * truth[$1] * predicted[$1] }
        return (2 * overlap + 1) / (dot(weight, truth) + dot(weight, predicted) + 1)
      }
      return 1 - scores.reduce(0, +) / Double(scores.count)
    }
  }

  @Test(arguments: Case.all) func againstTheirDefinitions(_ item: Case) throws {
    var random = TestRandom(6)
    let x = random.numbers(8 * item.channels)
    let target = try Tensor(item.labels, shape: [2, 2, 2])
    let weights = item.weighted ? try Tensor(item.weights, shape: [2, 2, 2]) : nil
    let losses: [(String, (Tensor, Tensor, Tensor?) throws -> Tensor, ([Double]) -> Double)] = [
      ("cross-entropy", { try Losses.crossEntropy($0, target: $1, weights: $2) }, item.crossEntropy),
      ("dice", { try Losses.dice($0, target: $1, weights: $2) }, item.dice),
    ]
    for (name, loss, reference) in losses {
      let logits = try Tensor(x, shape: [2, item.channels, 2, 2]).requiringGradient()
      let value = try loss(logits, target, weights)
      #expect(value.shape == [])
      #expect(abs(try value.item() - reference(x)) < 1e-12, "\(name)")
      try value.backward()
      let gradient = try #require(logits.gradient).doubles
      let expected = numericalGradient(at: x, reference)
      #expect(relativeError(gradient, expected) < 1e-8, "\(name)")
      #expect(relativeError(gradient.reversed(), expected) > 1e-3, "\(name)")
    }
  }

  @Test func weightsOfZeroLeaveNothing() throws {
    let logits = try Tensor([1.0, -2], shape: [1, 1, 1, 2])
    let target = try Tensor([1, 0], shape: [1, 1, 2])
    let loss = try Losses.crossEntropy(logits, target: target, weights: Tensor([0.0, 0], shape: [1, 1, 2]))
    #expect(try loss.item() == 0, "no division by zero")
  }

  @Test func extremeLogitsStayFinite() throws {
    let target = try Tensor([1, 0], shape: [1, 1, 2])
    let two = try Losses.crossEntropy(
      Tensor([-1e4, 1e4], shape: [1, 1, 1, 2]), target: target, weights: nil)
    #expect(abs(try two.item() - 1e4) < 1e-6)
    let three = try Tensor([0, 0, -1e4, 1e4, 1e4, 0], shape: [1, 3, 1, 2])
    #expect(try Losses.crossEntropy(three, target: target, weights: nil).item() == 1.5e4)
    #expect(try Losses.dice(three, target: target, weights: nil).allFinite())
  }
}
