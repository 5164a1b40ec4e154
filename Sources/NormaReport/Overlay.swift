import NormaFormats

/// A slice with the prediction's errors in colour, for looking at.
public enum Overlay {
  /// Grey where prediction and truth agree; red where a higher class was predicted than is true (for
  /// membranes: a border missed), blue where a lower one was. Pixels of class `ignored` stay grey.
  ///
  /// - Parameters:
  ///   - image: [C, H, W], 0…1; several channels are averaged.
  ///   - truth, prediction: classes [H, W].
  /// - Returns: one page of RGB, 8 bit.
  public static func image(
    _ image: [Float], truth: [UInt8], prediction: [UInt8], ignored: UInt8, height: Int, width: Int
  ) throws -> ImageStack {
    let area = height * width
    var values = [Float](repeating: 0, count: 3 * area)
    let channels = image.count / area
    for pixel in 0..<area {
      let mean = (0..<channels).reduce(Float(0)) { $0 + image[$1 * area + pixel] } / Float(channels)
      let grey = (min(max(mean, 0), 1) * 255).rounded()
      let wrong = truth[pixel] != ignored && truth[pixel] != prediction[pixel]
      let high = wrong && prediction[pixel] > truth[pixel]
      let low = wrong && !high
      values[pixel] = high ? 0.4 * grey + 153 : (low ? 0.4 * grey : grey)
      values[area + pixel] = wrong ? 0.4 * grey + (low ? 60 : 0) : grey
      values[2 * area + pixel] = low ? 0.4 * grey + 153 : (high ? 0.4 * grey : grey)
    }
    return try ImageStack(
      pages: 1, channels: 3, height: height, width: width, format: .uint8, values: values.map { $0.rounded() })
  }
}
