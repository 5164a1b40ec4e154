import NormaNN
import NormaTensor
import TestSupport
import Testing

extension Tensor {
  init(_ array: NDArray) throws { try self.init(array.values, shape: array.shape) }

  var doubles: [Double] { get throws { try array() } }
}

extension NDArray {
  init(_ tensor: Tensor) throws { self.init(shape: tensor.shape, values: try tensor.doubles) }
}

/// Compares with numbers computed in plain Swift.
func expect(
  _ tensor: @autoclosure () throws -> Tensor, _ expected: NDArray, tolerance: Double = 1e-13,
  sourceLocation: SourceLocation = #_sourceLocation
) throws {
  let tensor = try tensor()
  #expect(tensor.shape == expected.shape, sourceLocation: sourceLocation)
  #expect(try relativeError(tensor.doubles, expected.values) <= tolerance, sourceLocation: sourceLocation)
}

/// Fills a module's parameters with random numbers in Double.
func randomize(_ module: Module, _ random: inout TestRandom) throws {
  try module.to(dtype: .float64)
  for parameter in module.parameters {
    try parameter.value.copy(from: Tensor(NDArray.random(parameter.value.shape, &random)))
  }
}

/// Gradients of the layer's output, seen along a random direction, with respect to its input and to every
/// parameter, against central differences; and that a wrong one would be noticed.
func checkGradients(
  _ layer: any Layer, _ x: NDArray, _ random: inout TestRandom,
  sourceLocation: SourceLocation = #_sourceLocation
) throws {
  let input = try Tensor(x).requiringGradient()
  let direction = try Tensor(NDArray.random(try layer(input).shape, &random))
  func value() throws -> Tensor { try (layer(input) * direction).sum() }
  let leaves = [("input", input)] + layer.namedParameters().map { ($0.key, $0.parameter.value) }
  let gradients = try value().gradients(of: leaves.map(\.1))
  for ((name, leaf), gradient) in zip(leaves, gradients) {
    let actual = try #require(gradient, "no gradient for \(name)", sourceLocation: sourceLocation).doubles
    let point = try leaf.doubles
    let expected = try withoutGradients {
      try numericalGradient(at: point) {
        try leaf.copy(from: Tensor($0, shape: leaf.shape))
        return try value().item()
      }
    }
    try leaf.copy(from: Tensor(point, shape: leaf.shape))
    #expect(relativeError(actual, expected) < 1e-7, "gradient of \(name)", sourceLocation: sourceLocation)
    if actual.count > 1 {
      #expect(
        relativeError(actual.reversed(), expected) > 1e-4, "another order of \(name) does not pass",
        sourceLocation: sourceLocation)
    }
  }
}
