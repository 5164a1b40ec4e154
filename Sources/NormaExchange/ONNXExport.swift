import NormaFormats
import NormaNN
import NormaTensor

/// One extent of the input of an exported network.
public enum ONNXAxis: Sendable, Equatable {
  case fixed(Int)
  /// Any multiple of a number, under a name; with `plus`, that much more, as networks without padding take it.
  case any(String, multipleOf: Int = 1, plus: Int = 0)
}

/// A network that cannot be exported: what stands in the way.
public struct ONNXExportError: Error, CustomStringConvertible, Sendable {
  public let description: String
  init(_ description: String) { self.description = "cannot export to ONNX: \(description)" }
}

extension Module {
  /// This network in evaluation mode as an ONNX graph of operator set 21.
  ///
  /// The network runs twice, with inputs of different extents, and the operators that it calls are recorded and translated; from the
  /// differences follows how shapes depend on the input's. Parameters and buffers become constants under the keys of the
  /// state dictionary.
  /// - Parameters:
  ///   - axes: the input's extents, such as `[.any("batch"), .fixed(1), .any("height", multipleOf: 16), …]`; up to 4 of any size.
  ///   - output: the name of the output; the input is named `input`.
  ///   - forward: what is recorded, such as the call of the network and a softmax.
  /// - Throws: ``ONNXExportError`` for a network in training mode, one that calls an operator without a translation or reads
  ///   elements of its activations, and for one whose shapes do not follow from those of the input by products; what
  ///   `forward` throws.
  public func onnx(
    input axes: [ONNXAxis], output: String = "logits", name: String = "network", metadata: [String: String] = [:],
    forward: (Tensor) throws -> Tensor
  ) throws -> ONNX {
    if let training = namedModules().first(where: { $0.module.isTraining }) {
      throw ONNXExportError(
        "'\(training.key.isEmpty ? name : training.key)' is in training mode; call evaluate() on the network first")
    }
    let state = stateDictionary()
    if let taken = state.first(where: { ["input", output].contains($0.key) }) {
      throw ONNXExportError("a parameter or buffer has the name '\(taken.key)' of the input or output; rename it")
    }
    let extents = try ONNXExtents(axes)
    let dtype = state.first { $0.value.dtype.isFloatingPoint }?.value.dtype ?? .float32
    let inputs = try [extents.first, extents.second].map { try Tensor.zeros($0, dtype: dtype) }
    let runs = try inputs.map { input in try withoutGradients { try OperatorTrace.record { try forward(input) } } }
    let translator = ONNXTranslator(name: name, state: state, extents: extents)
    translator.graph.metadata = metadata
    translator.setInput("input", inputs[0], axes)
    try translator.translate(runs[0].calls, runs[1].calls)
    return try translator.finish(output, runs[0].result, runs[1].result)
  }
}

extension Layer {
  /// ``NormaNN/Module/onnx(input:output:name:metadata:forward:)`` of the call of this layer.
  public func onnx(
    input axes: [ONNXAxis], output: String = "logits", name: String = "network", metadata: [String: String] = [:]
  ) throws -> ONNX {
    try onnx(input: axes, output: output, name: name, metadata: metadata) { try self($0) }
  }
}

/// The inputs' extents of two recorded runs, and what follows from their differences.
struct ONNXExtents {
  let first: [Int]
  let second: [Int]
  let names: [Int: String]
  /// How many axes have extents that are no multiples.
  private let shifted: Int

  /// An extent as a multiple of a product of the input's.
  struct Extent: Hashable {
    let factor: Int
    let divisor: Int
    /// Of the input; none for a constant.
    let axes: [Int]

    static func constant(_ value: Int) -> Extent { Extent(factor: value, divisor: 1, axes: []) }
    var constant: Int? { axes.isEmpty ? factor : nil }
  }

  init(_ axes: [ONNXAxis]) throws {
    // The ratios of every pair, and their products, are all different: so a ratio tells the axes that it comes from.
    var pairs = [(4, 5), (1, 2), (2, 3), (4, 7)]
    var (first, second): ([Int], [Int]) = ([], [])
    var names: [Int: String] = [:]
    var shifted = 0
    // Smaller batches, as the smallest image without padding is large.
    if axes.contains(where: { if case .any(_, _, let plus) = $0 { plus > 0 } else { false } }) { pairs.swapAt(0, 2) }
    for (index, axis) in axes.enumerated() {
      switch axis {
      case .fixed(let extent):
        first.append(extent)
        second.append(extent)
      case .any(let name, let multiple, let plus):
        guard !pairs.isEmpty, multiple > 0, plus >= 0 else {
          throw ONNXExportError("at most 4 axes of any extent, multiples of 1 or more, were expected, got \(axes)")
        }
        let pair = pairs.removeFirst()
        // With something added ratios say nothing, but every axis grows by another amount.
        first.append(plus > 0 ? plus : pair.0 * multiple)
        second.append(plus > 0 ? plus + (1 + shifted) * multiple : pair.1 * multiple)
        if plus > 0 { shifted += 1 }
        names[index] = name
      }
    }
    self.first = first
    self.second = second
    self.names = names
    self.shifted = shifted
  }

  /// What is `a` in the first run and `b` in the second, or nil where it is no multiple of a product of the input's extents.
  func extent(_ a: Int, _ b: Int) -> Extent? {
    if a == b { return .constant(a) }
    let variable = names.keys.sorted()
    for choice in 1..<(1 << variable.count) {
      let axes = variable.indices.filter { choice >> $0 & 1 == 1 }.map { variable[$0] }
      let (p, q) = (axes.reduce(1) { $0 * first[$1] }, axes.reduce(1) { $0 * second[$1] })
      guard a * q == b * p, a != 0, a == p || shifted == 0 else { continue }
      let common = greatestCommonDivisor(abs(a), p)
      return Extent(factor: a / common, divisor: p / common, axes: axes)
    }
    return nil
  }

  private func greatestCommonDivisor(_ a: Int, _ b: Int) -> Int { b == 0 ? a : greatestCommonDivisor(b, a % b) }
}
