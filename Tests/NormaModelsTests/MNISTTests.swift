import NormaModels
import NormaNN
import NormaNormalization
import NormaTensor
import Testing

@Suite struct MNISTTests {
  private static let vectorNorms = [
    "none", "batch", "layer", "group:4", "switchable", "rms", "evo-s0:4", "evo-b0", "unit",
  ]

  private func dense(_ norm: String, _ change: (inout MNISTDense.Options) -> Void = { _ in }) throws -> MNISTDense {
    var options = MNISTDense.Options()
    options.normalization = try Normalization(parsing: norm)
    change(&options)
    return try MNISTDense(options, generator: Generator(seed: 0))
  }

  private func recurrent(_ norm: String, _ change: (inout MNISTLSTM.Options) -> Void = { _ in }) throws -> MNISTLSTM {
    var options = MNISTLSTM.Options()
    options.normalization = try Normalization(parsing: norm)
    change(&options)
    return try MNISTLSTM(options, generator: Generator(seed: 0))
  }

  private func checkGradients(_ network: any Layer, _ x: Tensor) throws {
    let y = try network(x)
    #expect(y.shape == [x.shape[0], 10])
    try y.crossEntropy(target: Tensor((0..<x.shape[0]).map { $0 % 10 })).backward()
    for (key, parameter) in network.namedParameters() {
      let gradient: [Float] = try #require(parameter.gradient, "\(key)").array()
      // A branch over single values has no variance, but the logits' gradient need not vanish.
      #expect(gradient.allSatisfy(\.isFinite) && gradient.contains { $0 != 0 }, "\(key)")
    }
  }

  @Test(arguments: vectorNorms) func denseGradientsReachEveryParameter(norm: String) throws {
    let network = try dense(norm)
    try network.options.validate()
    try checkGradients(network, Tensor.normal([16, 1, 28, 28], generator: Generator(seed: 1)))
  }

  @Test(arguments: ["none", "layer", "group:4", "rms", "switchable:layer+group(4)"])
  func recurrentGradientsReachEveryParameter(norm: String) throws {
    let network = try recurrent(norm) {
      $0.hidden = 32
      $0.layers = 2
    }
    try network.options.validate()
    try checkGradients(network, Tensor.normal([16, 1, 28, 28], generator: Generator(seed: 1)))
  }

  /// 784 · 256 + 256 · 128 + 128 · 10 weights with biases, and γ and β of 256 and 128.
  @Test func parameterTotals() throws {
    let plain = 784 * 256 + 256 + 256 * 128 + 128 + 1290
    #expect(try dense("none").totalCount == plain)
    #expect(try dense("layer").trainableCount == plain + 2 * 384)
    #expect(try dense("batch").totalCount == plain + 4 * 384)
    let lstm = 4 * 128 * (28 + 128)
    #expect(try recurrent("none").totalCount == lstm + 8 * 128 + 1290)
    #expect(try recurrent("layer").totalCount == lstm + 4 * 128 + 2 * (4 + 4 + 1) * 128 + 1290)
  }

  @Test func otherShapesAndSizes() throws {
    let network = try dense("layer") {
      ($0.inputChannels, $0.height, $0.width, $0.hidden, $0.classes) = (3, 8, 6, [5], 4)
    }
    #expect(try network(Tensor.ones([2, 3, 8, 6])).shape == [2, 4])
    #expect(try dense("batch") { $0.hidden = [] }(Tensor.ones([2, 1, 28, 28])).shape == [2, 10])
    let rows = try recurrent("none") { ($0.width, $0.hidden) = (9, 5) }
    #expect(try rows(Tensor.ones([2, 1, 4, 9])).shape == [2, 10])
    #expect(throws: NetworkError.self) { try network(Tensor.ones([2, 3, 6, 8])) }
    #expect(throws: NetworkError.self) { try rows(Tensor.ones([2, 1, 9, 4])) }
    #expect(throws: NetworkError.self) { try rows(Tensor.ones([2, 9, 9])) }
  }

  /// The last row comes last: what a network sees of a picture depends on the order of its rows.
  @Test func rowsAreSteps() throws {
    let network = try recurrent("layer") { $0.hidden = 8 }
    let x = try Tensor.normal([1, 1, 28, 28], generator: Generator(seed: 1))
    let all = try network.lstm(x.squeezed(1)).selected(27, dimension: 1)
    #expect(try network(x).isClose(to: network.output(all), relative: 1e-6, absolute: 1e-6))
    #expect(try !network(x).isClose(to: network(x.flipped([2])), relative: 1e-2, absolute: 1e-3))
  }

  @Test func sharesInitialWeightsBetweenNorms() throws {
    func weights(_ network: Module) throws -> [String: [Float]] {
      Dictionary(
        uniqueKeysWithValues: try network.namedParameters().filter {
          !$0.key.contains("norm") && !$0.key.contains("hh_b")
        }
        .filter { !$0.key.contains("bias_hh") }.map { ($0.key, try $0.parameter.value.array()) })
    }
    #expect(try weights(dense("none")) == weights(dense("switchable")))
    #expect(try weights(recurrent("none")) == weights(recurrent("layer")))
  }

  @Test func dropoutIsOffInEvaluation() throws {
    let x = try Tensor.normal([4, 1, 28, 28], generator: Generator(seed: 1))
    for network in [try dense("layer"), try recurrent("none") { $0.dropout = 0.5 }] as [any Layer] {
      let (a, b) = (try network(x).array(of: Float.self), try network(x).array(of: Float.self))
      #expect(a != b)
      network.evaluate()
      #expect(try network(x).array(of: Float.self) == network(x).array(of: Float.self))
    }
  }

  @Test func normsThatCannotBeAreRefusedAtOnce() throws {
    for name in ["instance", "frn", "lrn", "group:128"] {
      #expect(throws: NormalizationError.self) { try dense(name) }
      var options = MNISTDense.Options()
      options.normalization = try Normalization(parsing: name)
      #expect(throws: NormalizationError.self) { try options.validate() }
    }
    for name in ["batch", "switchable", "instance", "evo-b0", "lrn"] {
      #expect(throws: NormalizationError.self) { try recurrent(name) }
    }
    #expect(throws: NetworkError.self) { try dense("none") { $0.hidden = [0] } }
    #expect(throws: NetworkError.self) { try recurrent("none") { $0.classes = 1 } }
  }

  @Test func normsOfTheDenseNetworkCanBeSwapped() throws {
    let network = try dense("batch")
    #expect(try network.convertNormalization(to: .kind(.layer)) == ["hidden.0.norm", "hidden.1.norm"])
    #expect(try network(Tensor.ones([1, 1, 28, 28])).shape == [1, 10])
  }

  @Test func metadata() throws {
    var dense = MNISTDense.Options()
    (dense.inputChannels, dense.height, dense.width, dense.hidden) = (3, 20, 24, [64, 32, 16])
    (dense.classes, dense.dropout, dense.normalization) = (7, 0.35, .group(groups: 4))
    #expect(try MNISTDense.Options(metadata: dense.metadata).metadata == dense.metadata)
    #expect(dense.metadata["architecture"] == "mnist-dense" && dense.metadata["hidden"] == "64,32,16")
    #expect(try MNISTDense.Options(metadata: [:]).metadata == MNISTDense.Options().metadata)
    var recurrent = MNISTLSTM.Options()
    (recurrent.width, recurrent.hidden, recurrent.layers, recurrent.classes) = (20, 64, 2, 7)
    (recurrent.dropout, recurrent.normalization) = (0.25, .layer)
    #expect(try MNISTLSTM.Options(metadata: recurrent.metadata).metadata == recurrent.metadata)
    #expect(recurrent.metadata["architecture"] == "mnist-lstm")
    #expect(throws: NetworkError.self) { try MNISTLSTM.Options(metadata: dense.metadata) }
    for (key, value) in [("hidden", "64,,16"), ("hidden", "-1"), ("classes", "1"), ("dropout", "1"), ("width", "x")] {
      #expect(throws: NetworkError.self) { try MNISTDense.Options(metadata: [key: value]) }
    }
    #expect(throws: NormalizationError.self) { try MNISTLSTM.Options(metadata: ["norm": "what"]) }
  }
}
