import NormaTensor
import TestSupport
import Testing

extension Tensor {
  init(_ array: NDArray) throws { try self.init(array.values, shape: array.shape) }

  var doubles: [Double] { get throws { try array() } }
}

/// Compares with numbers computed in plain Swift.
func expect(
  _ tensor: @autoclosure () throws -> Tensor, _ values: [Double], shape: [Int]? = nil,
  tolerance: Double = 1e-14,
  sourceLocation: SourceLocation = #_sourceLocation
) throws {
  let tensor = try tensor()
  if let shape { #expect(tensor.shape == shape, sourceLocation: sourceLocation) }
  let actual = try tensor.doubles
  let error = relativeError(actual, values)
  #expect(error <= tolerance, "got \(actual), expected \(values)", sourceLocation: sourceLocation)
}
