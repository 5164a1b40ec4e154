import Foundation
import NormaTensor
import NormaTraining
import TestSupport
import Testing

struct SegmentationLossCase: Sendable, CustomTestStringConvertible {
  let classes: Int
  let kind: SegmentationLoss.Kind
  let ignores: Bool
  let hasClassWeights: Bool
  let hasBorderWeights: Bool

  var testDescription: String {
    "\(kind.rawValue), \(classes) classes\(ignores ? ", ignored pixels" : "")"
      + "\(hasClassWeights ? ", class weights" : "")\(hasBorderWeights ? ", border weights" : "")"
  }

  static let all: [SegmentationLossCase] = [2, 3].flatMap { classes in
    SegmentationLoss.Kind.allCases.flatMap { kind in
      (0..<8).map {
        SegmentationLossCase(
          classes: classes, kind: kind, ignores: $0 & 1 > 0, hasClassWeights: $0 & 2 > 0,
          hasBorderWeights: $0 & 4 > 0)
      }
    }
  }

  var channels: Int { classes == 2 ? 1 : classes }

  /// Two samples of 2 × 3 pixels.
  var labels: [UInt8] {
    let all: [UInt8] =
      classes == 2 ? [0, 1, 1, 0, 1, 0, 1, 1, 0, 0, 0, 1] : [0, 1, 2, 2, 1, 0, 2, 0, 0, 1, 2, 2]
    return ignores ? all.enumerated().map { $0.offset % 5 == 1 ? 255 : $0.element } : all
  }

  var classWeights: [Double]? { hasClassWeights ? Array([0.5, 3, 2].prefix(classes)) : nil }
  var borderWeights: [Double]? { hasBorderWeights ? (0..<12).map { 0.25 * Double($0 % 4) + 0.5 } : nil }

  /// The definition, pixel by pixel.
  func value(_ x: [Double]) -> Double {
    var (losses, weights) = (0.0, 0.0)
    var (overlap, truth, predicted) = ([Double](repeating: 0, count: classes), [Double](), [Double]())
    truth = overlap
    predicted = overlap
    for pixel in 0..<12 where labels[pixel] != 255 {
      let (n, p) = (pixel / 6, pixel % 6)
      let label = Int(labels[pixel])
      var shares: [Double]
      if classes == 2 {
        let one = 1 / (1 + exp(-x[6 * n + p]))
        shares = [1 - one, one]
      } else {
        shares = (0..<3).map { exp(x[(3 * n + $0) * 6 + p]) }
        shares = shares.map { [total = shares.reduce(0, +)] in $0 / total }
      }
      let weight = (classWeights?[label] ?? 1) * (borderWeights?[pixel] ?? 1)
      losses -= weight * log(shares[label])
      weights += weight
      overlap[label] += weight * shares[label]
      truth[label] += weight
      for k in 0..<classes { predicted[k] += weight * shares[k] }
    }
    let used = classes == 2 ? [1] : [0, 1, 2]
    let scores = used.map { (2 * overlap[$0] + 1) / (truth[$0] + predicted[$0] + 1) }
    let dice = 1 - scores.reduce(0, +) / Double(used.count)
    switch kind {
    case .crossEntropy: return losses / weights
    case .dice: return dice
    case .crossEntropyAndDice: return losses / weights + dice
    }
  }
}

@Suite struct SegmentationLossTests {
  @Test(arguments: SegmentationLossCase.all) func againstItsDefinition(_ item: SegmentationLossCase) throws {
    var random = TestRandom(1)
    let x = random.numbers(12 * item.channels)
    let logits = try Tensor(x, shape: [2, item.channels, 2, 3]).requiringGradient()
    let loss = SegmentationLoss(kind: item.kind, classWeights: item.classWeights)
    let value = try loss(
      logits, labels: Tensor(item.labels, shape: [2, 2, 3]).to(dtype: .int64),
      weights: item.borderWeights.map { try Tensor($0, shape: [2, 2, 3]) }, hasIgnored: item.ignores)
    #expect(abs(try value.item() - item.value(x)) < 1e-12)
    try value.backward()
    let gradient: [Double] = try #require(logits.gradient).array()
    let expected = numericalGradient(at: x, item.value)
    #expect(relativeError(gradient, expected) < 1e-8)
    #expect(relativeError(gradient.reversed(), expected) > 1e-3, "another order does not pass")
  }

  /// Every option changes the number, so that none can be lost unnoticed.
  @Test func theDefinitionsDiffer() {
    var random = TestRandom(1)
    let x = random.numbers(36)
    let values = SegmentationLossCase.all.map { $0.value(Array(x.prefix(12 * $0.channels))) }
    #expect(Set(values.map { ($0 * 1e6).rounded() }).count == values.count)
  }

  @Test func lowPrecisionIsScoredInFloat32() throws {
    let logits = try Tensor([0.5, -1, 2, 0.25], shape: [1, 1, 2, 2])
    let labels = try Tensor([1, 0, 1, 1], shape: [1, 2, 2])
    let loss = SegmentationLoss()
    let exact = try loss(logits, labels: labels, weights: nil, hasIgnored: false)
    let low = try loss(logits.to(dtype: .bfloat16), labels: labels, weights: nil, hasIgnored: false)
    #expect(low.dtype == .float32)
    // These logits are exact in bfloat16.
    #expect(abs(try low.item() - exact.item()) < 1e-6)
  }

  @Test func nothingLabelledIsNothingLost() throws {
    let logits = try Tensor([0.5, -1], shape: [1, 1, 1, 2]).requiringGradient()
    let labels = try Tensor([255, 255], shape: [1, 1, 2])
    let value = try SegmentationLoss()(logits, labels: labels, weights: nil, hasIgnored: true)
    #expect(try value.item() == 0)
    try value.backward()
    #expect(try #require(logits.gradient).array() == [0.0, 0])
  }
}
