import Foundation
import NormaTensor
import TestSupport
import Testing

@Suite struct AutogradTests {
  @Test func backwardAccumulates() throws {
    let x = try Tensor([1.0, 2, 3]).requiringGradient()
    #expect(x.requiresGradient)
    #expect(x.gradient == nil)
    try (x * x).sum().backward()
    try expect(#require(x.gradient), [2, 4, 6])
    try (x * 3).backward(Tensor([1.0, 10, 100]))
    try expect(#require(x.gradient), [5, 34, 306])
    try x.setGradient(nil)
    #expect(x.gradient == nil)
    try x.setGradient(Tensor([7.0, 8, 9]))
    try expect(#require(x.gradient), [7, 8, 9])
  }

  @Test func gradientsOfTouchesNoLeaf() throws {
    let x = try Tensor([1.0, 2]).requiringGradient()
    let w = try Tensor([3.0, 4]).requiringGradient()
    let unused = try Tensor([5.0]).requiringGradient()
    let gradients = try (x * w * w).gradients(of: [w, unused, x], cotangent: Tensor([1.0, 10]))
    try expect(#require(gradients[0]), [6, 160])
    #expect(gradients[1] == nil)
    try expect(#require(gradients[2]), [9, 160])
    #expect(x.gradient == nil && w.gradient == nil)
    // With respect to an intermediate.
    let middle = try x * 2
    let last = try (middle * middle).sum().gradients(of: [middle])
    try expect(#require(last[0]), [4, 8])
  }

  @Test func secondDerivatives() throws {
    let x = try Tensor([0.5, -1.5]).requiringGradient()
    let y = try x.power(4).sum()
    let first = try #require(try y.gradients(of: [x], createGraph: true)[0])
    try expect(first, [4 * 0.125, -4 * 3.375])
    let second = try #require(try first.sum().gradients(of: [x], createGraph: true)[0])
    try expect(second, [12 * 0.25, 12 * 2.25])
    try second.sum().backward()
    try expect(#require(x.gradient), [24 * 0.5, -24 * 1.5])
    // backward records too when asked.
    let z = try Tensor([3.0]).requiringGradient()
    try z.power(3).sum().backward(createGraph: true)
    #expect(try #require(z.gradient).requiresGradient)
    try z.setGradient(nil)
    try z.power(3).sum().backward()
    #expect(try !#require(z.gradient).requiresGradient)
  }

  @Test func graphsAreKeptOnRequestOnly() throws {
    let x = try Tensor([2.0]).requiringGradient()
    let y = try (x * x).sum()
    try y.backward(keepGraph: true)
    try y.backward()
    try expect(#require(x.gradient), [8])
    let error = #expect(throws: TensorError.self) { try y.backward() }
    #expect(error?.message.contains("second time") == true)
    #expect(error?.operation == "backward")
    #expect(throws: TensorError.self) { try y.gradients(of: [x]) }
  }

  @Test func recordingIsSwitchedOffAndOnAgain() throws {
    let x = try Tensor([2.0]).requiringGradient()
    let (off, on) = try withoutGradients {
      (try x * x, try withGradients(enabled: true) { try x * x })
    }
    #expect(!off.requiresGradient)
    #expect(on.requiresGradient)
    #expect(try (x * x).requiresGradient)
    struct Stop: Error {}
    #expect(throws: Stop.self) { try withoutGradients { throw Stop() } }
    #expect(try (x * x).requiresGradient, "also after an error")
    #expect(try !x.detached().requiresGradient)
    try x.detached().fill(5)
    try expect(x, [5])
    try x.requiringGradient(false)
    #expect(try !(x * x).requiresGradient)
  }

  @Test func wrongUseIsAnError() throws {
    let x = try Tensor([1.0, 2]).requiringGradient()
    #expect(throws: TensorError.self) { try (x * x).backward() }
    #expect(throws: TensorError.self) { try (x * x).backward(Tensor([1.0, 2, 3])) }
    #expect(throws: TensorError.self) { try Tensor([1.0]).sum().backward() }
    #expect(throws: TensorError.self) { try Tensor([1, 2]).requiringGradient() }
    #expect(throws: TensorError.self) { try x.add(scalar: 1) }
    #expect(throws: TensorError.self) { try (x * x).requiringGradient(false) }
    // The engine checks that what a product has saved is as it was.
    let y = try x * 2
    let z = try y * y
    try withoutGradients { try y.add(scalar: 1) }
    let error = #expect(throws: TensorError.self) { try z.sum().backward() }
    #expect(error?.message.contains("inplace") == true)
  }

  /// A gradient that does not fit its tensor would be read out of bounds by the optimizers.
  @Test func gradientsThatDoNotFitAreRefused() throws {
    let x = try Tensor([1.0, 2]).requiringGradient()
    #expect(throws: TensorError.self) { try x.setGradient(Tensor([1.0])) }
    #expect(throws: TensorError.self) { try x.setGradient(Tensor([1 as Float, 2])) }
    #expect(x.gradient == nil)
  }

  /// Operations with a derivative of their own in libtorch, against central differences.
  @Test(arguments: DifferentiableOperation.all) func againstFiniteDifferences(_ item: DifferentiableOperation)
    throws
  {
    var random = TestRandom(9)
    let x = random.numbers(12).map { $0 + 0.05 }
    let weights = random.numbers(200)
    func value(_ x: Tensor) throws -> Tensor {
      let y = try item.apply(x)
      return try (y * Tensor(Array(weights.prefix(y.count)), shape: y.shape)).sum()
    }
    let input = try Tensor(x, shape: [1, 3, 2, 2]).requiringGradient()
    let actual = try #require(try value(input).gradients(of: [input])[0]).doubles
    let expected = try numericalGradient(at: x) { try value(Tensor($0, shape: [1, 3, 2, 2])).item() }
    #expect(relativeError(actual, expected) < 1e-6)
    #expect(relativeError(actual.reversed(), expected) > 1e-3, "another order does not pass")
  }
}

struct DifferentiableOperation: Sendable, CustomTestStringConvertible {
  let testDescription: String
  let apply: @Sendable (Tensor) throws -> Tensor

  static let all: [DifferentiableOperation] = [
    .init(testDescription: "activations") {
      try $0.gelu() + $0.silu() * $0.tanh() - $0.softplus() + $0.sigmoid() * $0.leakyReLU()
    },
    .init(testDescription: "softmax") { try $0.softmax(1) * $0.logSoftmax(2) },
    .init(testDescription: "powers") {
      try ($0.squared() + 1).reciprocalSquareRoot() + ($0.abs() + 1).log().exp()
    },
    .init(testDescription: "division") { try ($0 + 1) / ($0.squared() + 2) - 3 / ($0.exp() + 1) },
    .init(testDescription: "reductions") {
      try $0 * $0.mean([0, 2], keepDimensions: true) + $0.variance([1], correction: 1, keepDimensions: true)
    },
    .init(testDescription: "logSumExp") { try $0.logSumExp([1]) + $0.maximum([1]) },
    .init(testDescription: "shape") {
      try Tensor.concatenate(
        [$0.flipped([3]).transposed(2, 3), $0.padded([0, 1]).sliced(1..<3, dimension: 3)], dimension: 1)
    },
    .init(testDescription: "indexing") {
      try $0.selected(1, dimension: 1) * $0.gatheredRows(Tensor([2]), dimension: 1).squeezed(1)
    },
    .init(testDescription: "pooling") {
      try $0.maxPooled(kernel: [2, 2]) + $0.averagePooled(kernel: [2, 2])
    },
    .init(testDescription: "upsampling") {
      try $0.upsampledNearest(factor: 2) + $0.upsampledLinear(to: [4, 4])
    },
    .init(testDescription: "matmul") { try $0.matmul($0.transposed(2, 3)) },
    .init(testDescription: "clamp and choice") {
      try $0.clamped(from: -1, to: 1).replaced(with: $0 * 3, where: $0 .> 0.5) + Tensor.maximum($0, $0 * 2)
    },
    .init(testDescription: "losses") {
      try $0.binaryCrossEntropy(target: Tensor(0.25).expanded($0.shape), reduction: .none)
        + $0.meanSquaredError(target: Tensor(0.5).expanded($0.shape), reduction: .none)
    },
  ]
}
