import CTIFF

/// Pages that ImageJ wrote one after the other behind a single directory, to get beyond 4 GB.
struct ImageJStack {
  let pages: Int
  let offset: Int
  let pageBytes: Int

  /// The number of images that an ImageJ description declares, nil for any other text.
  static func declaredPages(_ description: String?) -> Int? {
    guard let description, description.hasPrefix("ImageJ=") else { return nil }
    return TIFFDescription.value("images", in: description.split(whereSeparator: \.isNewline)).flatMap { Int($0) }
  }

  /// Looks at the selected directory, the only one of the file, which declares `pages` images.
  ///
  /// Throws where the images cannot be there.
  init(pages: Int, page: TIFFPage, handle: TIFFHandle, fileLength: Int) throws(TIFFFailure) {
    let prefix = "its ImageJ description declares \(pages) images, but it has one page directory and "
    guard page.compression == Int(COMPRESSION_NONE), page.coding == .samples, !page.isTiled else {
      throw TIFFFailure(
        prefix + "is compressed or tiled, so the other images are not in it; save the stack again")
    }
    let start = handle.storedRange(ofBlock: 0).offset
    var end = start
    for index in 0..<page.blockCount {
      guard handle.storedRange(ofBlock: index).offset == end else {
        throw TIFFFailure(prefix + "its strips do not follow each other; save the stack again")
      }
      end += UInt64(page.bytes(ofBlock: index))
    }
    let pageBytes = Int(end - start)
    guard let bytes = product(pages, pageBytes), bytes <= fileLength - Int(start) else {
      throw TIFFFailure(
        prefix + "\(fileLength - Int(start)) bytes of image data where \(pages) × \(pageBytes) are needed; "
          + "the file is truncated, copy it again from its source")
    }
    self.pages = pages
    self.offset = Int(start)
    self.pageBytes = pageBytes
  }
}
