import Foundation
import NormaNN
import NormaTensor
import TestSupport
import Testing

@testable import NormaNormalization

/// The layers beside PyTorch's own modules and the papers' formulas, computed by Golden/generate.py.
struct Golden: Decodable {
  struct Numbers: Decodable {
    let shape: [Int]
    let values: [Double]
    var tensor: Tensor { get throws { try Tensor(values, shape: shape) } }
  }

  struct Batch: Decodable {
    let x, g, y, dx: Numbers
    let gradients: [String: Numbers]
  }

  struct Case: Decodable, CustomTestStringConvertible {
    let name: String
    let kind: String
    let state: [String: Numbers]
    let batches: [Batch]
    let buffers: [String: Numbers]
    let evaluation: Batch?
    var testDescription: String { name }
  }

  struct WeightCase: Decodable {
    let name: String
    let weight, bias, x, g, y: Numbers
    let state, gradients: [String: Numbers]
  }

  let cases: [Case]
  let weights: [WeightCase]

  static let all: Golden = {
    let path = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Golden/golden.json")
    return try! JSONDecoder().decode(Golden.self, from: Data(contentsOf: path))
  }()

  static func weight(_ name: String) throws -> WeightCase { try #require(all.weights.first { $0.name == name }) }
}

@Suite struct GoldenTests {
  static let tolerance = 1e-11

  static func layer(_ item: Golden.Case) throws -> any Layer {
    let channels = item.batches[0].x.shape[1]
    let layer: any Layer
    if item.kind.hasPrefix("renorm ") {
      let bounds = item.kind.split(separator: " ").dropFirst().compactMap { Double($0) }
      var options = BatchNorm.Options()
      options.momentum = 0.2
      options.renormalization = .init()
      options.renormalization?.rMax = bounds[0]
      options.renormalization?.dMax = bounds[1]
      options.renormalization?.warmUp = 0
      options.renormalization?.rWidening = 0
      options.renormalization?.dWidening = 0
      layer = try BatchNorm(channels: channels, options)
    } else {
      layer = try #require(try Normalization(parsing: item.kind).layer(channels: channels))
    }
    try layer.to(dtype: .float64)
    try layer.load(stateDictionary: item.state.mapValues { try $0.tensor })
    return layer
  }

  @Test(arguments: Golden.all.cases, [MemoryFormat.contiguous, .channelsLast])
  func trainingEvaluationAndStateAgree(_ item: Golden.Case, _ layout: MemoryFormat) throws {
    guard layout == .contiguous || item.batches[0].x.shape.count == 4 else { return }
    let layer = try Self.layer(item)
    func check(_ batch: Golden.Batch) throws {
      let x = try batch.x.tensor.contiguous(layout).detached().requiringGradient()
      try layer.clearGradients()
      let y = try layer(x)
      try y.backward(batch.g.tensor)
      #expect(relativeError(try y.array(), batch.y.values) < Self.tolerance, "output")
      #expect(relativeError(try #require(x.gradient).array(), batch.dx.values) < Self.tolerance, "gradient of x")
      // A gradient in another order, or of zero, does not pass.
      #expect(relativeError(batch.dx.values.reversed(), batch.dx.values) > 1e-2)
      let parameters = Dictionary(uniqueKeysWithValues: layer.namedParameters().map { ($0.key, $0.parameter) })
      for (key, expected) in batch.gradients {
        let gradient: [Double] = try #require(parameters[key]?.gradient, "no gradient of \(key)").array()
        #expect(relativeError(gradient, expected.values) < Self.tolerance, "gradient of \(key)")
      }
    }
    for batch in item.batches { try check(batch) }
    for (key, buffer) in layer.namedBuffers() {
      if key == "num_batches_tracked", item.kind.hasPrefix("renorm") || item.kind.hasPrefix("instance") {
        // The formulas have no count, and PyTorch's instance norm has one that it leaves at 0.
        #expect(try buffer.value.item() == Double(item.batches.count))
        continue
      }
      let expected = try #require(item.buffers[key], "unexpected buffer \(key)")
      #expect(relativeError(try buffer.value.array(), expected.values) < Self.tolerance, "\(key)")
    }
    layer.evaluate()
    if let evaluation = item.evaluation { try check(evaluation) }
  }

  /// Every member of the registry is in the golden values; options are there and in LibtorchAgreementTests.
  @Test func everyMemberIsCovered() {
    let covered = Set(Golden.all.cases.map { $0.kind.split(separator: ":")[0] })
    for kind in NormalizationKind.all { #expect(covered.contains(Substring(kind.name)), "\(kind.name)") }
  }
}

/// Gradients by finite differences of the layer's own output in Double, which the golden values prove.
@Suite struct FiniteDifferenceTests {
  static let names = [
    "batch", "batch:ghost=2", "batch:ghost=2:epsilon=0.1", "batch:untracked", "batch:keras", "group:2", "group:size=1",
    "layer", "instance", "instance:plain", "instance:tracked", "switchable", "switchable:pytorch", "switchable:keras",
    "switchable:instance+group(2)+layer+batch", "switchable:temperature=0.4", "switchable:layer",
    "switchable:instance+ghost(2)+layer", "rms", "rms:2",
    "frn", "frn:plain", "evo-s0:2", "evo-b0", "lrn", "lrn:size=2", "lrn:alexnet", "unit",
  ]
  static let tolerance = 1e-6

  @Test(arguments: names, [true, false]) func gradientsAreThoseOfTheOutput(_ name: String, _ training: Bool) throws {
    let layer = try #require(try Normalization(parsing: name).layer(channels: 4))
    try layer.to(dtype: .float64)
    var random = TestRandom(7)
    for parameter in layer.parameters {
      try parameter.value.copy(from: Tensor(random.numbers(parameter.value.count)))
    }
    for (key, buffer) in layer.namedBuffers() where key != "num_batches_tracked" {
      let values = random.numbers(4)
      try buffer.value.copy(from: Tensor(key == "running_var" ? values.map { $0 * $0 + 0.5 } : values))
    }
    layer.train(training)
    for shape in [[3, 4, 2, 3], [2, 4, 5]] {
      let x = try Tensor(random.numbers(shape.reduce(1, *)).map { $0 + 0.5 }, shape: shape)
      try GradientCheck.run(
        ["x": x].merging(layer.namedParameters().map { ($0.key, $0.parameter.value) }) { $1 },
        tolerance: Self.tolerance, random: &random
      ) { try layer(x) }
    }
  }
}

enum GradientCheck {
  /// Compares the gradients of all leaves with finite differences of Σ r ⊙ f for random r, and shows that zeros and
  /// another order would not pass.
  static func run(
    _ leaves: [String: Tensor], tolerance: Double, random: inout TestRandom, _ function: () throws -> Tensor
  ) throws {
    for leaf in leaves.values {
      try leaf.requiringGradient()
      try leaf.setGradient(nil)
    }
    let output = try function()
    let cotangent = random.numbers(output.count)
    try output.backward(Tensor(cotangent, shape: output.shape))
    for (name, leaf) in leaves.sorted(by: { $0.key < $1.key }) {
      let actual: [Double] = try #require(leaf.gradient, "no gradient of \(name)").array()
      let values: [Double] = try leaf.array()
      let expected = try withoutGradients {
        try numericalGradient(at: values) { changed in
          try leaf.copy(from: Tensor(changed, shape: leaf.shape))
          return dot(cotangent, try function().array())
        }
      }
      try withoutGradients { try leaf.copy(from: Tensor(values, shape: leaf.shape)) }
      let size = expected.map(abs).max() ?? 0
      guard size > 1e-7 else {
        #expect(actual.allSatisfy { abs($0) < 1e-7 }, "gradient of \(name) is zero")
        continue
      }
      #expect(relativeError(actual, expected) < tolerance, "gradient of \(name)")
      #expect(relativeError(actual.map { _ in 0 }, expected) > 1000 * tolerance)
      if actual.count > 1 { #expect(relativeError(actual.reversed(), expected) > 1000 * tolerance, "\(name)") }
    }
  }
}
