import NormaNN
import NormaTensor
import TestSupport
import Testing

@Suite struct RecurrentTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var cell: ReferenceRecurrent.Cell
    var layers: Int
    var bidirectional: Bool
    var testDescription: String { "\(cell), \(layers) layers, \(bidirectional ? "both ways" : "one way")" }
    static let all = [ReferenceRecurrent.Cell.lstm, .gru].flatMap { cell in
      [(1, false), (2, false), (1, true), (2, true)].map {
        Case(cell: cell, layers: $0.0, bidirectional: $0.1)
      }
    }

    func layer(norm: (Int) throws -> (any Layer)? = { _ in nil }, generator: Generator? = nil) throws -> RecurrentLayer
    {
      cell == .lstm
        ? try LSTM(
          inputs: 3, hidden: 4, layers: layers, bidirectional: bidirectional, generator: generator, norm: norm)
        : try GRU(inputs: 3, hidden: 4, layers: layers, bidirectional: bidirectional, generator: generator, norm: norm)
    }

    func reference(_ layer: RecurrentLayer) throws -> ReferenceRecurrent {
      ReferenceRecurrent(
        cell, hidden: 4, layers: layers, directions: bidirectional ? 2 : 1,
        parameters: try Dictionary(uniqueKeysWithValues: layer.stateDictionary().map { ($0.key, try $0.value.doubles) })
      )
    }
  }

  @Test(arguments: Case.all) func equations(_ item: Case) throws {
    var random = TestRandom(1)
    let layer = try item.layer()
    try randomize(layer, &random)
    let x = NDArray.random([2, 5, 3], &random)
    let reference = try item.reference(layer)
    try expect(layer(Tensor(x)), reference(x).output)
    let shape = [item.layers * (item.bidirectional ? 2 : 1), 2, 4]
    let (h, c) = (NDArray.random(shape, &random), NDArray.random(shape, &random))
    let start = RecurrentState(hidden: try Tensor(h), cell: item.cell == .lstm ? try Tensor(c) : nil)
    let expected = reference(x, h: h, c: c)
    func check(_ result: (output: Tensor, state: RecurrentState)) throws {
      try expect(result.output, expected.output)
      try expect(result.state.hidden, expected.h)
      #expect((result.state.cell == nil) == (item.cell == .gru))
      if let cell = result.state.cell { try expect(cell, expected.c) }
    }
    try check(layer(Tensor(x), from: start))
    // A recording takes the cells apart; the result is the same.
    let (result, calls) = try OperatorTrace.record { try layer(Tensor(x), from: start) }
    try check(result)
    #expect(!calls.contains { ["aten::lstm", "aten::gru"].contains($0.name) })
    // What the state is for: a sequence in two pieces is the sequence.
    if !item.bidirectional {
      let first = try layer(Tensor(x).sliced(0..<2, dimension: 1), from: nil)
      let second = try layer(Tensor(x).sliced(2..<5, dimension: 1), from: first.state)
      try expect(Tensor.concatenate([first.output, second.output], dimension: 1), reference(x).output)
    }
  }

  @Test(arguments: Case.all) func gradients(_ item: Case) throws {
    var random = TestRandom(2)
    let layer = try item.layer()
    try randomize(layer, &random)
    try checkGradients(layer, .random([2, 3, 3], &random), &random)
  }

  /// The unrolled cells, with norms that leave their input as it is.
  @Test(arguments: Case.all) func unrolled(_ item: Case) throws {
    var random = TestRandom(3)
    let layer = try item.layer { _ in ActivationLayer(.none) }
    try randomize(layer, &random)
    #expect(!layer.namedParameters().contains { $0.key.hasPrefix("bias_hh") })
    let x = NDArray.random([2, 3, 3], &random)
    try expect(layer(Tensor(x)), item.reference(layer)(x).output)
    try checkGradients(layer, x, &random)
  }

  @Test func keysAndInitialValues() throws {
    let layer = try LSTM(
      inputs: 3, hidden: 16, layers: 2, bidirectional: true, forgetBias: 1, generator: Generator(seed: 1))
    let suffixes = ["l0", "l0_reverse", "l1", "l1_reverse"]
    #expect(
      layer.stateDictionary().map(\.key)
        == suffixes.flatMap { suffix in
          ["weight_ih", "weight_hh", "bias_ih", "bias_hh"].map { "\($0)_\(suffix)" }
        })
    for (key, parameter) in layer.namedParameters() {
      let values = try parameter.value.doubles
      let isBias = key.hasPrefix("bias")
      let drawn = isBias ? Array(values[..<16] + values[32...]) : values
      #expect(drawn.map(abs).max()! <= 0.25 && drawn.map(abs).max()! > 0.2, "\(key)")
      #expect(abs(drawn.reduce(0, +) / Double(drawn.count)) < 0.1, "\(key)")
      if isBias { #expect(values[16..<32].allSatisfy { $0 == (key.hasPrefix("bias_ih") ? 1 : 0) }, "\(key)") }
    }
    #expect(layer.parameters.allSatisfy { $0.value.requiresGradient })
    // Norms leave the weights of a seed as they are.
    func weights(_ norm: (Int) throws -> (any Layer)?) throws -> [String: [Double]] {
      let gru = try GRU(inputs: 3, hidden: 4, layers: 2, generator: Generator(seed: 2), norm: norm)
      return Dictionary(
        uniqueKeysWithValues: try gru.stateDictionary().filter { !$0.key.hasPrefix("bias_hh") }
          .map { ($0.key, try $0.value.doubles) })
    }
    #expect(try weights { _ in nil } == weights { _ in ActivationLayer(.none) })
  }

  @Test func halfPrecisionKeepsItsType() throws {
    let x = try Tensor.normal([2, 4, 3], generator: Generator(seed: 1))
    for layer in try Case.all.map({ try $0.layer(generator: Generator(seed: 2)) }) {
      let exact = try layer(x)
      let half = try layer(x.to(dtype: .bfloat16))
      #expect(half.dtype == .bfloat16)
      #expect(try relativeError(half.doubles, exact.doubles) < 0.03)
    }
  }

  @Test func badInputIsNamed() throws {
    let lstm = try LSTM(inputs: 3, hidden: 4)
    #expect { try lstm(Tensor.ones([2, 5, 2])) } throws: {
      "\($0)" == "LSTM: an input [N, T, 3] of floating point with at least one step was expected, got float32 [2, 5, 2]"
    }
    #expect(throws: TensorError.self) { try lstm(Tensor.ones([2, 0, 3])) }
    #expect(throws: TensorError.self) { try lstm(Tensor.ones([2, 3])) }
    #expect(throws: TensorError.self) { try lstm(Tensor.zeros([2, 5, 3], dtype: .int64)) }
    let (x, h) = (try Tensor.ones([2, 5, 3]), try Tensor.ones([1, 2, 4]))
    #expect(throws: TensorError.self) { try lstm(x, from: .init(hidden: h)) }
    #expect(throws: TensorError.self) { try lstm(x, from: .init(hidden: h, cell: Tensor.ones([1, 1, 4]))) }
    #expect(throws: TensorError.self) { try GRU(inputs: 3, hidden: 4)(x, from: .init(hidden: h, cell: h)) }
    #expect(throws: TensorError.self) { try GRU(inputs: 3, hidden: 0) }
  }
}
