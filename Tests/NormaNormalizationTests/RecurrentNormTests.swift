import NormaNN
import NormaNormalization
import NormaTensor
import TestSupport
import Testing

/// LSTM and GRU with norms inside the cell.
@Suite struct RecurrentNormTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var cell: ReferenceRecurrent.Cell
    var name: String
    var norm: ReferenceRecurrent.Norm
    var layers = 1
    var bidirectional = false
    var testDescription: String { "\(cell) \(name)\(layers > 1 ? ", 2 layers both ways" : "")" }

    static let all = [ReferenceRecurrent.Cell.lstm, .gru].flatMap { cell in
      [
        Case(cell: cell, name: "layer", norm: .groups(1)), Case(cell: cell, name: "group:2", norm: .groups(2)),
        Case(cell: cell, name: "rms", norm: .rootMeanSquare),
        Case(cell: cell, name: "layer", norm: .groups(1), layers: 2, bidirectional: true),
      ]
    }

    func layer() throws -> RecurrentLayer {
      let norm = try Normalization(parsing: name)
      return cell == .lstm
        ? try LSTM(inputs: 3, hidden: 4, layers: layers, bidirectional: bidirectional, norm: norm.cellLayer)
        : try GRU(inputs: 3, hidden: 4, layers: layers, bidirectional: bidirectional, norm: norm.cellLayer)
    }
  }

  @Test(arguments: Case.all) func equations(_ item: Case) throws {
    var random = TestRandom(1)
    let layer = try item.layer()
    try layer.to(dtype: .float64)
    for parameter in layer.parameters {
      try parameter.value.copy(from: Tensor(random.numbers(parameter.value.count), shape: parameter.value.shape))
    }
    let reference = ReferenceRecurrent(
      item.cell, norm: item.norm, hidden: 4, layers: item.layers, directions: item.bidirectional ? 2 : 1,
      parameters: try Dictionary(uniqueKeysWithValues: layer.stateDictionary().map { ($0.key, try $0.value.array()) }))
    let x = NDArray.random([2, 4, 3], &random)
    let input = try Tensor(x.values, shape: x.shape)
    let y = try layer(input, from: nil)
    let expected = reference(x)
    #expect(relativeError(try y.output.array(), expected.output.values) < 1e-12)
    #expect(relativeError(try y.state.hidden.array(), expected.h.values) < 1e-12)
    if let cell = y.state.cell { #expect(relativeError(try cell.array(), expected.c.values) < 1e-12) }
    // Training and evaluation are alike.
    layer.evaluate()
    #expect(try layer(input).array(of: Double.self) == y.output.array())
    // The norms are seen: without them the output is another.
    var plain = reference
    plain.norm = .none
    #expect(relativeError(plain(x).output.values, expected.output.values) > 0.01)

    var leaves = Dictionary(uniqueKeysWithValues: layer.namedParameters().map { ($0.key, $0.parameter.value) })
    leaves["x"] = input
    try GradientCheck.run(leaves, tolerance: 1e-6, random: &random) { try layer(input) }
  }

  @Test func keys() throws {
    func keys(_ layer: RecurrentLayer) -> [String: [Int]] {
      Dictionary(uniqueKeysWithValues: layer.stateDictionary().map { ($0.key, $0.value.shape) })
    }
    #expect(
      keys(try LSTM(inputs: 3, hidden: 4, norm: Normalization.layer.cellLayer)) == [
        "weight_ih_l0": [16, 3], "weight_hh_l0": [16, 4], "bias_ih_l0": [16], "norm_ih_l0.weight": [16],
        "norm_ih_l0.bias": [16], "norm_hh_l0.weight": [16], "norm_hh_l0.bias": [16], "norm_c_l0.weight": [4],
        "norm_c_l0.bias": [4],
      ])
    #expect(
      keys(try GRU(inputs: 3, hidden: 4, norm: Normalization(parsing: "rms").cellLayer)) == [
        "weight_ih_l0": [12, 3], "weight_hh_l0": [12, 4], "bias_ih_l0": [12], "norm_ih_l0.weight": [8],
        "norm_hh_l0.weight": [8], "norm_in_l0.weight": [4], "norm_hn_l0.weight": [4],
      ])
    let plain = try LSTM(inputs: 3, hidden: 4, norm: Normalization.none.cellLayer)
    #expect(plain.namedParameters().map(\.key) == ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"])
    let both = try LSTM(inputs: 3, hidden: 4, bidirectional: true, norm: Normalization.layer.cellLayer)
    #expect(keys(both)["norm_c_l0_reverse.weight"] == [4])
  }

  @Test(arguments: ["layer", "group:2", "rms", "rms:bias", "unit", "switchable:layer+group(2)"])
  func normsThatMeasureSamplesAlone(name: String) throws {
    let norm = try Normalization(parsing: name)
    let layer = try LSTM(inputs: 3, hidden: 4, generator: Generator(seed: 1), norm: norm.cellLayer)
    let x = try Tensor.normal([3, 5, 3], generator: Generator(seed: 2))
    let all = try layer(x).selected(1).array(of: Float.self)
    let alone = try layer(x.sliced(1..<2)).array(of: Float.self)
    #expect(relativeError(all.map(Double.init), alone.map(Double.init)) < 1e-5)
    try layer(x).sum().backward()
    #expect(layer.parameters.allSatisfy { $0.gradient != nil })
  }

  @Test(arguments: [
    "batch", "batch:ghost=2", "batch:untracked", "switchable", "switchable:layer+ghost(2)",
  ])
  func statisticsOverSamplesAreRefused(name: String) throws {
    let norm = try Normalization(parsing: name)
    #expect {
      try LSTM(inputs: 3, hidden: 4, norm: norm.cellLayer)
    } throws: {
      "\($0)".hasPrefix("'\(name)' cannot stand inside a recurrent cell") && "\($0)".contains("Cooijmans et al. 2017")
        && "\($0)".contains("use layer")
    }
    _ = try norm.vectorLayer(features: 16)
  }

  @Test(arguments: ["instance", "frn", "frn:plain", "lrn", "group:16", "batch:ghost=1"])
  func nothingToAverageOverIsRefused(name: String) throws {
    let norm = try Normalization(parsing: name)
    for make in [norm.cellLayer, norm.vectorLayer] {
      #expect {
        try make(16)
      } throws: {
        "\($0)".hasPrefix("'\(name)' cannot normalize vectors of 16 features") && "\($0)".contains("use layer")
      }
    }
  }

  /// [N, C] takes libtorch's operators over rows, [N, C, 1] the kernels: both are the same function, with the same digits.
  @Test(arguments: ["layer", "group:2", "group:4:epsilon=0.1", "rms", "rms:2:bias"], [Activation.none, .relu])
  func vectorsAreRows(name: String, activation: Activation) throws {
    var random = TestRandom(5)
    let layer = try #require(try Normalization(parsing: name).layer(channels: 8) as? NormalizationLayer)
    try layer.to(dtype: .float64)
    for parameter in layer.parameters {
      try parameter.value.copy(from: Tensor(random.numbers(parameter.value.count), shape: parameter.value.shape))
    }
    let (x, g, bias) = (random.numbers(24), random.numbers(24), random.numbers(8))
    func results(_ shape: [Int], _ dtype: DType = .float64, mean: Double = 0) throws -> [[Double]] {
      try layer.to(dtype: dtype.accumulation)
      try layer.clearGradients()
      let input = try Tensor(x.map { Float($0 + mean) }, shape: shape).to(dtype: dtype).requiringGradient()
      let y = try layer(input, activation: activation, inputBias: Tensor(bias).to(dtype: dtype.accumulation))
      try y.backward(Tensor(g, shape: shape).to(dtype: dtype))
      return try ([y, #require(input.gradient)] + layer.parameters.map { try #require($0.gradient) }).map {
        try $0.array()
      }
    }
    for (rows, kernels) in zip(try results([3, 8]), try results([3, 8, 1])) {
      #expect(relativeError(rows, kernels) < 1e-12)
      #expect(kernels.contains { $0 != 0 })
    }
    // Adding the bias rounds in float32 already.
    let exact = try results([3, 8], mean: 1000)
    for (rows, expected) in zip(try results([3, 8], .float32, mean: 1000), exact) {
      #expect(relativeError(rows, expected) < 3e-4)
    }
    // Both round results once.
    for (rows, kernels) in zip(try results([3, 8], .bfloat16), try results([3, 8, 1], .bfloat16)) {
      #expect(relativeError(rows, kernels) < 0.01)
    }
  }

  @Test func activationsOfTheirOwnStayOutOfCells() throws {
    #expect(throws: NormalizationError.self) { try Normalization(parsing: "evo-s0:2").cellLayer(features: 16) }
    _ = try Normalization(parsing: "evo-s0:2").vectorLayer(features: 16)
  }

  /// Swapping the norms of a network must not bring batch statistics into a cell.
  @Test func cellsKeepTheirNorms() throws {
    let network = Sequential([try LSTM(inputs: 3, hidden: 4, norm: Normalization.layer.cellLayer)])
    #expect(throws: NormalizationError.self) { try network.convertNormalization(to: .kind(.batch)) }
    _ = try network(Tensor.ones([2, 3, 3]))
  }
}
