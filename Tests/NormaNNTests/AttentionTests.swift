import Foundation
import NormaNN
import NormaTensor
import TestSupport
import Testing

@Suite struct AttentionTests {
  /// Scores, weights and sums by loops over indices. `sees` says whether a query sees a key.
  private func reference(
    _ layer: MultiHeadAttention, _ x: NDArray, _ source: NDArray, sees: (_ n: Int, _ t: Int, _ s: Int) -> Bool
  ) throws -> NDArray {
    let (e, size) = (layer.features, layer.features / layer.heads)
    let (w, b) = (try layer.inProjWeight.value.doubles, try layer.inProjBias.value.doubles)
    func project(_ x: NDArray, _ part: Int) -> NDArray {
      var y = x
      for index in NDArray.indices(of: x.shape) {
        let row = part * e + index[2]
        y[index] = b[row] + (0..<e).reduce(0) { $0 + w[row * e + $1] * x[[index[0], index[1], $1]] }
      }
      return y
    }
    let (q, k, v) = (project(x, 0), project(source, 1), project(source, 2))
    let (ow, ob) = (try layer.outProj.weight.value.doubles, try layer.outProj.bias!.value.doubles)
    var y = x
    for n in 0..<x.shape[0] {
      for t in 0..<x.shape[1] {
        var joined = [Double](repeating: 0, count: e)
        for head in 0..<layer.heads {
          let features = head * size..<(head + 1) * size
          let powers = (0..<source.shape[1]).map { s -> Double in
            guard sees(n, t, s) else { return 0 }
            return exp(features.reduce(0) { $0 + q[[n, t, $1]] * k[[n, s, $1]] } / Double(size).squareRoot())
          }
          let total = powers.reduce(0, +)
          guard total > 0 else { continue }
          for f in features { joined[f] = powers.indices.reduce(0) { $0 + powers[$1] / total * v[[n, $1, f]] } }
        }
        for f in 0..<e { y[[n, t, f]] = ob[f] + (0..<e).reduce(0) { $0 + ow[f * e + $1] * joined[$1] } }
      }
    }
    return y
  }

  @Test(arguments: [1, 2, 3]) func definition(heads: Int) throws {
    var random = TestRandom(1)
    let layer = try MultiHeadAttention(features: 6, heads: heads)
    try randomize(layer, &random)
    let (x, source) = (NDArray.random([2, 3, 6], &random), NDArray.random([2, 4, 6], &random))
    try expect(layer(Tensor(x)), reference(layer, x, x) { _, _, _ in true })
    try expect(layer(Tensor(x), isCausal: true), reference(layer, x, x) { $1 >= $2 })
    try expect(layer(Tensor(x), to: Tensor(source)), reference(layer, x, source) { _, _, _ in true })
    let valid = [[1, 1, 0, 1], [0, 1, 1, 0]]
    let mask = try Tensor(valid.flatMap { $0 }, shape: [2, 4])
    try expect(layer(Tensor(x), to: Tensor(source), mask: mask), reference(layer, x, source) { valid[$0][$2] != 0 })
    // The first step of the second sample sees nothing.
    try expect(
      layer(Tensor(x), to: Tensor(source), mask: mask, isCausal: true),
      reference(layer, x, source) { valid[$0][$2] != 0 && $1 >= $2 })
    try checkGradients(layer, x, &random)
    try checkGradients(Causal(layer), x, &random)
  }

  /// Causal attention as a layer of one argument.
  private final class Causal: Module, Layer {
    let attention: MultiHeadAttention
    init(_ attention: MultiHeadAttention) { self.attention = attention }
    func forward(_ input: Tensor) throws -> Tensor { try attention(input, isCausal: true) }
  }

  /// A norm by the mean of a row's squares, in plain operators.
  private final class Scaled: Module, Layer {
    func forward(_ input: Tensor) throws -> Tensor {
      #expect(input.rank == 2)
      return try input / (input.squared().mean([1], keepDimensions: true) + 1e-5).squareRoot()
    }
  }

  @Test func transformerBlock() throws {
    var random = TestRandom(2)
    let block = try TransformerBlock(features: 4, heads: 2, inner: 5) { _ in Scaled() }
    try randomize(block, &random)
    #expect(block.namedParameters().map(\.key).contains("self_attn.in_proj_weight"))
    let x = NDArray.random([2, 3, 4], &random)
    func scaled(_ x: Tensor) throws -> Tensor {
      try x / (x.squared().mean([2], keepDimensions: true) + 1e-5).squareRoot()
    }
    let middle = try Tensor(x) + block.selfAttn(scaled(Tensor(x)))
    let y = try middle + block.linear2(block.linear1(scaled(middle)).gelu())
    try expect(block(Tensor(x)), NDArray(y))
    try checkGradients(block, x, &random)
    let causal = try block(Tensor(x), isCausal: true)
    let shorter = try block(Tensor(x).sliced(0..<2, dimension: 1), isCausal: true)
    #expect(try relativeError(causal.sliced(0..<2, dimension: 1).doubles, shorter.doubles) < 1e-13)
    #expect(try relativeError(causal.doubles, y.doubles) > 1e-3)
  }

  @Test func badInputIsNamed() throws {
    #expect(throws: TensorError.self) { try MultiHeadAttention(features: 6, heads: 4) }
    let layer = try MultiHeadAttention(features: 6, heads: 2)
    let x = try Tensor.ones([2, 3, 6])
    #expect(throws: TensorError.self) { try layer(Tensor.ones([2, 3, 5])) }
    #expect(throws: TensorError.self) { try layer(x, to: Tensor.ones([1, 3, 6])) }
    #expect { try layer(x, mask: Tensor.ones([2, 4])) } throws: {
      "\($0)" == "MultiHeadAttention: a mask [N, S] of [2, 3] was expected, got [2, 4]"
    }
  }
}
