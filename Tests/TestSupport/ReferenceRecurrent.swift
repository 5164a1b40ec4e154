import Foundation

/// LSTM and GRU in Double, unit by unit from the published equations, with or without norms inside the cell. Parameters go by
/// the keys of PyTorch's layers, those of norms by Norma's.
public struct ReferenceRecurrent {
  public enum Cell: Sendable {
    case lstm, gru
    var gates: Int { self == .lstm ? 4 : 3 }
  }

  /// What is done to a vector before γ and β.
  public enum Norm: Sendable {
    case none
    /// Mean and variance over groups of neighbours; 1 is layer normalization.
    case groups(Int)
    case rootMeanSquare
  }

  public var cell: Cell
  public var norm: Norm
  public var hidden: Int
  public var layers: Int
  public var directions: Int
  public var parameters: [String: [Double]]

  public init(
    _ cell: Cell, norm: Norm = .none, hidden: Int, layers: Int = 1, directions: Int = 1, parameters: [String: [Double]]
  ) {
    self.cell = cell
    self.norm = norm
    self.hidden = hidden
    self.layers = layers
    self.directions = directions
    self.parameters = parameters
  }

  /// - Parameters:
  ///   - x: [N, T, features].
  ///   - h, c: [layers · directions, N, H]; nil for zeros.
  /// - Returns: [N, T, H · directions], and the last states.
  public func callAsFunction(_ x: NDArray, h: NDArray? = nil, c: NDArray? = nil) -> (
    output: NDArray, h: NDArray, c: NDArray
  ) {
    let (samples, steps) = (x.shape[0], x.shape[1])
    var hiddens = NDArray(shape: [layers * directions, samples, hidden])
    var cells = hiddens
    var input = x
    for layer in 0..<layers {
      var output = NDArray(shape: [samples, steps, hidden * directions])
      for direction in 0..<directions {
        let index = layer * directions + direction
        let suffix = "_l\(layer)" + (direction == 1 ? "_reverse" : "")
        for n in 0..<samples {
          var state = (0..<hidden).map { h?[[index, n, $0]] ?? 0 }
          var memory = (0..<hidden).map { c?[[index, n, $0]] ?? 0 }
          for step in 0..<steps {
            let t = direction == 0 ? step : steps - 1 - step
            let features = (0..<input.shape[2]).map { input[[n, t, $0]] }
            next(features, &state, &memory, suffix)
            for unit in 0..<hidden { output[[n, t, direction * hidden + unit]] = state[unit] }
          }
          for unit in 0..<hidden {
            hiddens[[index, n, unit]] = state[unit]
            cells[[index, n, unit]] = memory[unit]
          }
        }
      }
      input = output
    }
    return (input, hiddens, cells)
  }

  private func next(_ x: [Double], _ h: inout [Double], _ c: inout [Double], _ suffix: String) {
    func rows(_ name: String, _ v: [Double]) -> [Double] {
      let w = parameters[name + suffix]!
      return (0..<cell.gates * hidden).map { row in v.indices.reduce(0) { $0 + w[row * v.count + $1] * v[$1] } }
    }
    func plus(_ v: [Double], _ name: String) -> [Double] {
      guard let bias = parameters[name + suffix] else { return v }
      return zip(v, bias).map(+)
    }
    func sigmoid(_ x: Double) -> Double { 1 / (1 + exp(-x)) }
    let (a, b) = (rows("weight_ih", x), rows("weight_hh", h))
    switch cell {
    case .lstm:
      let fromX = plus(normalized(a, "norm_ih" + suffix), "bias_ih")
      let fromH = plus(normalized(b, "norm_hh" + suffix), "bias_hh")
      func gate(_ block: Int, _ unit: Int) -> Double { fromX[block * hidden + unit] + fromH[block * hidden + unit] }
      for j in 0..<hidden { c[j] = sigmoid(gate(1, j)) * c[j] + sigmoid(gate(0, j)) * tanh(gate(2, j)) }
      let shown = normalized(c, "norm_c" + suffix)
      h = (0..<hidden).map { sigmoid(gate(3, $0)) * tanh(shown[$0]) }
    case .gru:
      func parts(_ v: [Double], _ gates: String, _ candidate: String) -> [Double] {
        normalized(Array(v[..<(2 * hidden)]), gates + suffix)
          + normalized(Array(v[(2 * hidden)...]), candidate + suffix)
      }
      let fromX = plus(parts(a, "norm_ih", "norm_in"), "bias_ih")
      let fromH = plus(parts(b, "norm_hh", "norm_hn"), "bias_hh")
      h = (0..<hidden).map { j in
        let r = sigmoid(fromX[j] + fromH[j])
        let z = sigmoid(fromX[hidden + j] + fromH[hidden + j])
        let n = tanh(fromX[2 * hidden + j] + r * fromH[2 * hidden + j])
        return (1 - z) * n + z * h[j]
      }
    }
  }

  private func normalized(_ v: [Double], _ key: String) -> [Double] {
    let epsilon = 1e-5
    var y = v
    switch norm {
    case .none: return v
    case .groups(let groups):
      let size = v.count / groups
      for group in 0..<groups {
        let (mean, variance) = ReferenceNormalization.meanAndVariance(Array(v[group * size..<(group + 1) * size]))
        for i in group * size..<(group + 1) * size { y[i] = (v[i] - mean) / (variance + epsilon).squareRoot() }
      }
    case .rootMeanSquare:
      let square = v.reduce(0) { $0 + $1 * $1 } / Double(v.count)
      y = v.map { $0 / (square + epsilon).squareRoot() }
    }
    let weight = parameters[key + ".weight"]!
    let bias = parameters[key + ".bias"]
    return y.indices.map { y[$0] * weight[$0] + (bias?[$0] ?? 0) }
  }
}
