import NormaNN
import NormaTensor
import Testing

/// Backpropagates a random direction and checks that every parameter gets a gradient, and every weight one that is not 0.
func expectGradients(
  _ module: Module, _ output: Tensor, except: (String) -> Bool = { _ in false },
  sourceLocation: SourceLocation = #_sourceLocation
) throws {
  try output.backward(Tensor.normal(output.shape, dtype: output.dtype, generator: Generator(seed: 77)))
  for (key, parameter) in module.namedParameters() where !except(key) {
    let gradient = try #require(parameter.gradient, "no gradient for \(key)", sourceLocation: sourceLocation)
    // The bias of a convolution in front of a norm has no effect.
    if key.hasSuffix("bias") { continue }
    #expect(try gradient.abs().maximum().item() > 0, "gradient of \(key)", sourceLocation: sourceLocation)
  }
}

/// Keys with the shapes of a module's parameters.
func shapes(of module: Module) -> [String: [Int]] {
  Dictionary(uniqueKeysWithValues: module.namedParameters().map { ($0.key, $0.parameter.value.shape) })
}

/// The message of what the body throws.
func message(_ body: () throws -> Void) -> String {
  do {
    try body()
    return "nothing was thrown"
  } catch { return "\(error)" }
}
