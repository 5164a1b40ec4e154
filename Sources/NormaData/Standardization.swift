/// The shift and scale by which the channels of a training set get mean 0 and deviation 1; validation data get the same.
public struct Standardization: Sendable, Codable, Equatable {
  /// The mean of each channel.
  public let means: [Float]
  /// The standard deviation of each channel; 1 for a constant one.
  public let deviations: [Float]

  /// A standardization as it was kept; both must have one number per channel.
  public init(means: [Float], deviations: [Float]) {
    precondition(means.count == deviations.count, "\(means.count) means and \(deviations.count) deviations")
    self.means = means
    self.deviations = deviations
  }

  /// Measures the channels of `dataset`.
  public init(of dataset: ImageDataset) {
    let area = dataset.height * dataset.width
    var sums = [(Double, Double)](repeating: (0, 0), count: dataset.channels)
    // About the first image's means, so that a large mean takes no digits from the deviation.
    var centres = [Double](repeating: 0, count: dataset.channels)
    for index in 0..<dataset.count {
      dataset.image(index).withUnsafeBufferPointer { image in
        for channel in 0..<dataset.channels {
          let plane = UnsafeBufferPointer(rebasing: image[channel * area..<(channel + 1) * area])
          if index == 0 {
            for value in plane { centres[channel] += Double(value) / Double(area) }
          }
          let centre = centres[channel]
          var (sum, squares) = (0.0, 0.0)
          for value in plane {
            let difference = Double(value) - centre
            sum += difference
            squares += difference * difference
          }
          sums[channel].0 += sum
          sums[channel].1 += squares
        }
      }
    }
    let count = Double(dataset.count * area)
    means = zip(centres, sums).map { Float($0 + $1.0 / count) }
    deviations = sums.map { sum, squares in
      let deviation = Float(max(0, squares / count - sum / count * (sum / count)).squareRoot())
      return deviation > 0 ? deviation : 1
    }
  }

  /// The numbers by the names that weight files carry in their metadata.
  public var metadata: [String: String] {
    func words(_ numbers: [Float]) -> String { numbers.map { "\($0)" }.joined(separator: ",") }
    return ["input_mean": words(means), "input_deviation": words(deviations)]
  }

  /// Reads ``metadata``; nil where it is not there or makes no sense.
  public init?(metadata: [String: String]) {
    func numbers(_ key: String) -> [Float]? {
      guard let words = metadata[key]?.split(separator: ",", omittingEmptySubsequences: false) else { return nil }
      let numbers = words.compactMap { Float($0) }
      return numbers.count == words.count && numbers.allSatisfy(\.isFinite) ? numbers : nil
    }
    guard let means = numbers("input_mean"), let deviations = numbers("input_deviation"),
      means.count == deviations.count, deviations.allSatisfy({ $0 > 0 })
    else { return nil }
    self.init(means: means, deviations: deviations)
  }

  /// Throws `DataError` unless there is a number for each channel of `dataset`.
  func validate(for dataset: ImageDataset) throws {
    guard means.count == dataset.channels else {
      throw DataError(
        .parameter,
        "Expected means and deviations of the \(dataset.channels) channels of \(dataset.name), received \(means.count); take "
          + "those of its training set.")
    }
  }
}
