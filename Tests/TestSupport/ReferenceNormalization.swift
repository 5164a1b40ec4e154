/// Normalization of [N, C, positions] in Double, written from the definitions: gather the values of a set,
/// take their mean and mean squared deviation. It shares nothing with the library but the formulas' source.
public struct ReferenceNormalization {
  /// Which values share statistics with the one at (sample, channel).
  public enum Statistic: Sendable {
    case instance, batch, layer
    case group(Int)
    /// Fixed numbers per channel.
    case running(mean: [Double], variance: [Double])
  }

  public var statistics: [Statistic]
  /// Mixing logits; ignored for one statistic.
  public var meanLogits: [Double]
  public var varianceLogits: [Double]
  public var weight: [Double]
  public var bias: [Double]
  public var epsilon: Double

  public init(
    _ statistics: [Statistic], meanLogits: [Double] = [0], varianceLogits: [Double] = [0], weight: [Double],
    bias: [Double], epsilon: Double = 1e-5
  ) {
    self.statistics = statistics
    self.meanLogits = meanLogits
    self.varianceLogits = varianceLogits
    self.weight = weight
    self.bias = bias
    self.epsilon = epsilon
  }

  private func shares(_ logits: [Double]) -> [Double] {
    let powers = logits.map { exponential($0) }
    return powers.map { $0 / powers.reduce(0, +) }
  }

  public func callAsFunction(_ x: [Double], samples: Int, channels: Int, positions: Int) -> [Double] {
    var y = x
    let w = shares(meanLogits)
    let l = shares(varianceLogits)
    for n in 0..<samples {
      for c in 0..<channels {
        var mean = 0.0
        var variance = 0.0
        for (k, statistic) in statistics.enumerated() {
          let (m, v): (Double, Double)
          if case .running(let means, let variances) = statistic {
            (m, v) = (means[c], variances[c])
          } else {
            var set: [Double] = []
            for i in 0..<samples {
              for j in 0..<channels where shares(statistic, (n, c), (i, j), channels) {
                set += x[((i * channels + j) * positions)..<((i * channels + j + 1) * positions)]
              }
            }
            (m, v) = Self.meanAndVariance(set)
          }
          mean += w[k] * m
          variance += l[k] * v
        }
        for p in 0..<positions {
          let index = (n * channels + c) * positions + p
          y[index] = weight[c] * (x[index] - mean) / (variance + epsilon).squareRoot() + bias[c]
        }
      }
    }
    return y
  }

  public static func meanAndVariance(_ set: [Double]) -> (Double, Double) {
    let mean = set.reduce(0, +) / Double(set.count)
    return (mean, set.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(set.count))
  }

  private func shares(_ statistic: Statistic, _ a: (Int, Int), _ b: (Int, Int), _ channels: Int) -> Bool {
    switch statistic {
    case .instance: a == b
    case .batch: a.1 == b.1
    case .layer: a.0 == b.0
    case .group(let groups): a.0 == b.0 && a.1 / (channels / groups) == b.1 / (channels / groups)
    case .running: false
    }
  }
}

/// e^x by its series, halving the argument: good to 1e-15 for the small numbers of the tests.
private func exponential(_ x: Double) -> Double {
  var (sum, term) = (1.0, 1.0)
  for k in 1..<20 {
    term *= x / 16 / Double(k)
    sum += term
  }
  for _ in 0..<4 { sum *= sum }
  return sum
}
