import NormaData
import NormaFormats

/// Predicts the pages of a TIFF file into another, band by band.
public struct StackPrediction {
  /// What is written for every pixel.
  public enum Output: Sendable {
    /// Of class 1 for a network of one output, else of every class as a channel of its own; as float32 in 0…1, or scaled to the
    /// range of an integer format.
    case probabilities(SampleFormat)
    /// The value of the most probable class; of two classes that of the second where its probability is above a threshold.
    case labels([Int], threshold: Float)

    /// The format of the file.
    /// - Throws: ``PredictionError`` for label values beyond uint16.
    public var format: SampleFormat {
      get throws {
        switch self {
        case .probabilities(let format): return format
        case .labels(let values, _):
          guard values.allSatisfy({ (0...65_535).contains($0) }) else {
            throw PredictionError(
              "labels are written as whole numbers in 0…65535, but the classes have the values \(values); leave out the "
                + "mask")
          }
          return values.allSatisfy { $0 < 256 } ? .uint8 : .uint16
        }
      }
    }
  }

  private let reader: TIFFReader
  private let predictor: TilePredictor
  /// The grey values that became 0 and 1.
  public let greyRange: GreyRange

  public var pages: Int { reader.pageCount }
  /// Whether the pages fit into one tile.
  public var isInOnePiece: Bool { predictor.takesInOnePiece(height: reader.height, width: reader.width) }
  /// Of all pages.
  public var pixels: Int { reader.pageCount * reader.height * reader.width }

  /// Opens the file and finds the grey values that become 0 and 1: those of the training where it had the same format, else by
  /// the rules of `GreyRange` for the whole file, which is read once for that unless the format alone decides.
  /// - Parameter trained: the range that the network was trained with, where it is known.
  /// - Throws: `FormatError` or `DataError` for a file that cannot be taken, ``PredictionError`` for another number of channels.
  public init(input: String, channels: Int, trained: GreyRange?, predictor: TilePredictor) throws {
    reader = try TIFFReader(input)
    guard reader.channels == channels else {
      throw PredictionError(
        "the network takes images with \(channels) channel\(channels == 1 ? "" : "s"), '\(input)' has \(reader.channels); "
          + "save it with as many as the network was trained with")
    }
    self.predictor = predictor
    if let trained, trained.format == reader.format {
      greyRange = trained
      return
    }
    var bounds = GreyBounds(format: reader.format)
    if !GreyRange.isFixed(for: reader.format) {
      let rows = max(1, (16 << 20) / (reader.width * channels))
      for page in 0..<reader.pageCount {
        for row in stride(from: 0, to: reader.height, by: rows) {
          let band = try reader.readRegion(page: page, rows: row..<min(row + rows, reader.height))
          try bounds.add(band.values[...], page: page)
        }
      }
    }
    greyRange = bounds.range
  }

  /// - Parameter progress: the page, from 0, and the share of its work that is done.
  /// - Throws: what reading, predicting and writing throw; then a file of the output's name is as it was.
  public func write(
    _ output: Output, to path: String, progress: (_ page: Int, _ share: Double) throws -> Void = { _, _ in }
  ) throws {
    let format = try output.format
    let writer = try TIFFWriter(
      path, compression: .deflate, expectedPages: reader.pageCount, description: reader.description)
    let (height, width) = (reader.height, reader.width)
    for index in 0..<reader.pageCount {
      let page = TilePredictor.Page(channels: reader.channels, height: height, width: width) { rows in
        let band = try reader.readRegion(page: index, rows: rows)
        // Values of whole-number formats are finite, and the first pass may not have been needed.
        if reader.format.range == nil {
          var bounds = GreyBounds(format: reader.format)
          try bounds.add(band.values[...], page: index)
        }
        return greyRange.unitValues(band.values)
      }
      try predictor.predict(page, progress: { try progress(index, $0) }) { rows, probabilities in
        let values = try output.values(probabilities, pixels: rows.count * width)
        try writer.append(
          band: ImageStack(
            pages: 1, channels: values.count / (rows.count * width), height: rows.count, width: width, format: format,
            values: values),
          pageHeight: height)
      }
    }
    try writer.finish()
  }
}

extension StackPrediction.Output {
  /// What is stored for probabilities, index = class * pixels + pixel.
  fileprivate func values(_ probabilities: [Float], pixels: Int) throws -> [Float] {
    switch self {
    case .probabilities(let format):
      guard let greatest = format.range.map({ Float($0.upperBound) }) else { return probabilities }
      return probabilities.map { $0 * greatest }
    case .labels(let values, let threshold):
      let classes = probabilities.count / pixels
      guard values.count == max(2, classes) else {
        throw PredictionError("the network tells \(max(2, classes)) classes apart, got \(values.count) values for them")
      }
      let labels = values.map { Float($0) }
      // Of two classes the second, from one output or two.
      if classes <= 2 { return probabilities.suffix(pixels).map { labels[$0 > threshold ? 1 : 0] } }
      return (0..<pixels).map { pixel in
        var best = 0
        for k in 1..<classes where probabilities[k * pixels + pixel] > probabilities[best * pixels + pixel] { best = k }
        return labels[best]
      }
    }
  }
}
