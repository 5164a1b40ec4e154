import NormaNN
import NormaTensor
import NormaTraining
import TestSupport
import Testing

/// The update rules in Double, one number at a time, from the papers and in PyTorch's form.
private struct ReferenceOptimizer {
  let kind: OptimizerKind
  let momentum: Double
  let weightDecay: Double
  var first: [Double]
  var second: [Double]
  var steps = 0.0

  init(_ kind: OptimizerKind, momentum: Double, weightDecay: Double, count: Int) {
    self.kind = kind
    self.momentum = momentum
    self.weightDecay = weightDecay
    first = Array(repeating: 0, count: count)
    second = first
  }

  mutating func step(_ p: inout [Double], _ gradient: [Double], _ rate: Double) {
    steps += 1
    for i in p.indices {
      if kind == .adamw { p[i] -= rate * weightDecay * p[i] }
      let g = gradient[i] + (kind == .adamw ? 0 : weightDecay * p[i])
      switch kind {
      case .adam, .adamw:
        first[i] = 0.9 * first[i] + 0.1 * g
        second[i] = 0.999 * second[i] + 0.001 * g * g
        let corrected = first[i] / (1 - power(0.9, steps))
        p[i] -= rate * corrected / ((second[i] / (1 - power(0.999, steps))).squareRoot() + 1e-8)
      case .sgd, .nesterov:
        first[i] = momentum * first[i] + g
        p[i] -= rate * (kind == .sgd ? first[i] : g + momentum * first[i])
      case .rmsprop:
        second[i] = 0.99 * second[i] + 0.01 * g * g
        first[i] = momentum * first[i] + g / (second[i].squareRoot() + 1e-8)
        p[i] -= rate * first[i]
      case .adagrad:
        second[i] += g * g
        p[i] -= rate * g / (second[i].squareRoot() + 1e-10)
      }
    }
  }

  private func power(_ base: Double, _ exponent: Double) -> Double {
    (0..<Int(exponent)).reduce(1) { product, _ in product * base }
  }
}

struct OptimizerCase: Sendable, CustomTestStringConvertible {
  let kind: OptimizerKind
  var momentum: Double?
  var weightDecay = 0.0

  var testDescription: String { "\(kind.rawValue), momentum \(momentum ?? -1), decay \(weightDecay)" }

  static let all: [OptimizerCase] =
    OptimizerKind.allCases.flatMap { [OptimizerCase(kind: $0), OptimizerCase(kind: $0, weightDecay: 0.3)] }
    + [
      OptimizerCase(kind: .sgd, momentum: 0), OptimizerCase(kind: .sgd, momentum: 0.5, weightDecay: 0.1),
      OptimizerCase(kind: .nesterov, momentum: 0, weightDecay: 0.2),
      OptimizerCase(kind: .nesterov, momentum: 0.5),
      OptimizerCase(kind: .rmsprop, momentum: 0.8, weightDecay: 0.1),
    ]

  /// What ``OptimizerKind/make(parameters:learningRate:momentum:weightDecay:)`` states for nil.
  var effectiveMomentum: Double { momentum ?? (kind == .rmsprop ? 0 : 0.9) }
}

@Suite struct OptimizerTests {
  private static let shapes = [[3, 2], [4], [2, 3, 2, 2], [2, 3], [1]]

  /// Parameters with the loss Σ a p² / 2 + b p, so that gradients depend on where they are. The third lies
  /// channels-last in memory, the fourth transposed.
  private func parameters(_ random: inout TestRandom, dtype: DType = .float64) throws -> [Parameter] {
    try Self.shapes.enumerated().map { index, shape in
      let value = try Tensor(NDArray.random(shape, &random)).to(dtype: dtype)
      switch index {
      case 2: return try Parameter(value.contiguous(.channelsLast))
      case 3: return try Parameter(value.transposed(0, 1).contiguous().transposed(0, 1))
      default: return try Parameter(value)
      }
    }
  }

  @Test(arguments: OptimizerCase.all) func fiveStepsByHand(_ item: OptimizerCase) throws {
    for (dtype, tolerance) in [(DType.float64, 1e-12), (.float32, 2e-5)] {
      var random = TestRandom(1)
      let parameters = try parameters(&random, dtype: dtype)
      #expect(!parameters[2].value.isContiguous() && !parameters[3].value.isContiguous())
      let frozen = try Parameter(Tensor([1.0, 2]).to(dtype: dtype))
      try frozen.freeze()
      let unused = try Parameter(Tensor([3.0]).to(dtype: dtype))
      let a = Self.shapes.map { NDArray.random($0, &random) }
      let b = Self.shapes.map { NDArray.random($0, &random) }
      var expected = try parameters.map { try $0.value.array(of: Double.self) }
      let start = expected
      var references = expected.map {
        ReferenceOptimizer(
          item.kind, momentum: item.effectiveMomentum, weightDecay: item.weightDecay, count: $0.count)
      }
      let optimizer = try item.kind.make(
        parameters: parameters + [frozen, unused], learningRate: 0.05, momentum: item.momentum,
        weightDecay: item.weightDecay)
      #expect(optimizer.learningRate == 0.05)
      for step in 0..<5 {
        if step == 3 { optimizer.learningRate = 0.02 }
        for (index, parameter) in parameters.enumerated() {
          try parameter.value.setGradient(nil)
          // The second takes no part in every other step: its moments and its step count stand still.
          if index == 1, step % 2 == 1 { continue }
          let (p, a, b) = (
            parameter.value, try Tensor(a[index]).to(dtype: dtype), try Tensor(b[index]).to(dtype: dtype)
          )
          try (p.squared() * a * 0.5 + p * b).sum().backward()
        }
        try optimizer.step()
        for index in parameters.indices where index != 1 || step % 2 == 0 {
          let gradient = expected[index].indices.map {
            a[index].values[$0] * expected[index][$0] + b[index].values[$0]
          }
          references[index].step(&expected[index], gradient, step < 3 ? 0.05 : 0.02)
        }
      }
      for index in parameters.indices {
        let actual = try parameters[index].value.array(of: Double.self)
        #expect(relativeError(actual, expected[index]) < tolerance, "parameter \(index), \(dtype)")
        #expect(relativeError(start[index], expected[index]) > 1e-2, "parameter \(index) has moved")
      }
      #expect(try frozen.value.array(of: Double.self) == [1, 2])
      #expect(try unused.value.array(of: Double.self) == [3])
    }
  }

  /// Rules that differ give numbers that differ, so that the comparison above can tell them apart.
  @Test func theReferencesDiffer() {
    let results = OptimizerCase.all.map { item -> Double in
      var p = [0.7]
      var reference = ReferenceOptimizer(
        item.kind, momentum: item.effectiveMomentum, weightDecay: item.weightDecay, count: 1)
      for _ in 0..<5 { reference.step(&p, [1.5 * p[0] - 0.2], 0.05) }
      return p[0]
    }
    // Only Adam and AdamW agree, as they should without weight decay.
    #expect(Set(results.map { ($0 * 1e5).rounded() }).count == results.count - 1)
  }

  /// Gradients that callers set may lie in memory in another order than the parameter.
  @Test(arguments: OptimizerKind.allCases) func gradientsOfAnotherLayout(_ kind: OptimizerKind) throws {
    var random = TestRandom(3)
    let start = NDArray.random([2, 3, 2, 2], &random)
    let gradient = NDArray.random([2, 3, 2, 2], &random)
    let results = try [MemoryFormat.contiguous, .channelsLast].map { format in
      let parameter = try Parameter(Tensor(start).contiguous(format))
      let optimizer = try kind.make(parameters: [parameter], learningRate: 0.1)
      for _ in 0..<2 {
        try parameter.value.setGradient(Tensor(gradient))
        try optimizer.step()
      }
      return try parameter.value.array(of: Double.self)
    }
    #expect(relativeError(results[1], results[0]) < 1e-14)
    #expect(relativeError(results[0], start.values) > 1e-2)
  }

  /// A step over a parameter with gaps would change what lies between.
  @Test(arguments: OptimizerKind.allCases) func parametersWithGapsInMemoryAreRefused(_ kind: OptimizerKind)
    throws
  {
    let whole = try Tensor([1.0, 2, 3, 4, 5, 6])
    let parameter = try Parameter(whole.sliced(0..<6, step: 2))
    let optimizer = try kind.make(parameters: [parameter], learningRate: 0.1)
    try parameter.value.setGradient(Tensor([1.0, -2, 3]))
    let error = #expect(throws: TrainingError.self) { try optimizer.step() }
    #expect(error?.description.contains("strides [2]") == true)
    #expect(try whole.array() == [1.0, 2, 3, 4, 5, 6])
  }

  /// The network may be laid out anew, or change its type, between two steps; the state follows.
  @Test(arguments: OptimizerKind.allCases) func parametersThatMove(_ kind: OptimizerKind) throws {
    var random = TestRandom(4)
    let weights = NDArray.random([2, 3, 2, 2], &random)
    let gradients = (0..<3).map { _ in NDArray.random([2, 3, 2, 2], &random) }
    let results = try [false, true].map { moves in
      let layer = try Convolution(inputChannels: 3, outputChannels: 2, kernel: [2, 2], bias: false)
      try layer.to(dtype: moves ? .float32 : .float64)
      try layer.weight.value.copy(from: Tensor(weights))
      let optimizer = try kind.make(parameters: layer.parameters, learningRate: 0.1, momentum: 0.9)
      for (step, gradient) in gradients.enumerated() {
        if moves, step == 1 { try layer.to(memoryFormat: .channelsLast) }
        if moves, step == 2 { try layer.to(dtype: .float64) }
        try layer.weight.value.setGradient(Tensor(gradient).to(dtype: layer.weight.value.dtype))
        try optimizer.step()
      }
      return try layer.weight.value.array(of: Double.self)
    }
    // Two of three steps were made in float32.
    #expect(relativeError(results[1], results[0]) < 1e-5)
    #expect(relativeError(results[0], weights.values) > 1e-2)
  }

  @Test(arguments: OptimizerKind.allCases) func parametersFrozenLaterStay(_ kind: OptimizerKind) throws {
    let (a, b) = (try Parameter(Tensor([1.0, 2])), try Parameter(Tensor([1.0, 2])))
    let optimizer = try kind.make(parameters: [a, b], learningRate: 0.1)
    try (a.value.sum() + b.value.sum()).backward()
    try optimizer.step()
    let before: [Double] = try b.value.array()
    try b.freeze()
    // The gradient from before is still there.
    try optimizer.step()
    #expect(try b.value.array() == before)
    #expect(try a.value.array() != before)
  }

  @Test func defaults() throws {
    #expect(
      OptimizerKind.allCases.map(\.rawValue) == ["adam", "adamw", "sgd", "nesterov", "rmsprop", "adagrad"])
    #expect(OptimizerKind.adam.defaultLearningRate == 1e-3)
    #expect(OptimizerKind.sgd.defaultLearningRate == 1e-2)
    // Without any gradient a step is none.
    let parameter = try Parameter(Tensor([1.0]))
    for kind in OptimizerKind.allCases { try kind.make(parameters: [parameter], learningRate: 1).step() }
    #expect(try parameter.value.item() == 1)
  }
}

extension Tensor {
  init(_ array: NDArray) throws { try self.init(array.values, shape: array.shape) }
}
